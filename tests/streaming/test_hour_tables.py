"""Features of one hour, with the tables of earlier hours, equal those of the whole log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from applications.ctr.aggregations import GROUPS
from applications.ctr.etl import build_examples
from applications.ctr.features import FEATURES
from applications.ctr.request_features import RequestFeatures, UnknownItemError
from applications.ctr.sample_data.click_log import ClickLogConfig, generate_click_log
from applications.ctr.sample_data.dirt import Dirt
from base.durations import HOUR_MS
from features.events import entities_of
from features.online_features import OnlineFeatures
from features.online_store import SqliteStore
from pipeline.config import PipelineConfig, load_config
from spark_io.connectors.connector import InputLocation
from spark_io.examples.rows import OUTCOME, EtlContext
from spark_io.sources.inputs import find_inputs
from spark_io.sources.reading import read_source
from spark_io.sources.spans import SpanRange
from streaming.hour_rows import HourRows
from streaming.ingest import ingest
from streaming.landed_columns import Events
from streaming.layout import Layout
from streaming.online import online_store, update_store
from streaming.tables import HourTables, read_parquet

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def config(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> PipelineConfig:
    """Returns a config whose hours are closed."""
    root = tmp_path_factory.mktemp("hours") / "log"
    dirt = Dirt.preset("heavy")
    generate_click_log(ClickLogConfig(impressions=3_000, hours=4, seed=6, dirt=dirt), root)
    places = [f"{key}={root}" for key in ("data_root", "streaming.folder", "streaming.watched")]
    config = load_config(
        "applications/ctr/configs/ctr-stream.yaml", [*places, "streaming.online_seconds=60"]
    )
    assert config.streaming is not None
    ingest(spark, config.streaming, lambda *_: None, finish=True, tables=HourTables(config))
    return config


def examples(
    spark: SparkSession,
    config: PipelineConfig,
    hours: int,
    last: int,
    given: Mapping[str, DataFrame] | None = None,
) -> dict[str, dict]:
    """Returns impression id -> its example, for a window of hours; `given` replaces sources."""
    wanted, place = SpanRange(hours, last), InputLocation(config.data_root, spark)
    found = find_inputs(config.sources, wanted, place).by_source
    frames: dict[str, DataFrame] = {
        name: read_source(spark, name, source, found[name], place.base, name == "impressions").rows
        for name, source in config.sources.items()
    }
    frames |= given or {}
    assert config.streaming is not None
    window = tuple(range(last - hours + 1, last + 1))
    begin_ms, outcomes = window[0] * HOUR_MS, config.streaming.outcomes
    context = EtlContext(config.etl.parameters, window, begin_ms, outcomes)
    rows = build_examples(spark, frames, context).where(f"{OUTCOME} is null").collect()
    return {row["impression_id"]: row.asDict() for row in rows}


def test_every_feature_equals_that_of_the_batch(
    spark: SparkSession, config: PipelineConfig
) -> None:
    assert config.streaming is not None
    closed = Layout(config.streaming.folder).closed_hours()
    hours = [hour for hour, marker in closed.items() if marker["streams"]["impressions"]["rows"]]
    whole = examples(spark, config, len(hours), hours[-1])
    by_hour: dict[str, dict] = {}
    for hour in hours:
        by_hour |= examples(spark, config, 1, hour)
    assert len(hours) == 4
    assert len(whole) > 2_500
    assert by_hour.keys() == whole.keys()
    different = [one for one, row in whole.items() if by_hour[one] != row]
    assert not different, (whole[different[0]], by_hour[different[0]])
    assert max(row["user_item_impressions_7d"] for row in whole.values()) > 1
    assert any(len(row["recent_item_id"]) > 2 for row in whole.values())


def test_tables_are_compact(config: PipelineConfig) -> None:
    """An entity has one row per hour, however often it was shown."""
    import pyarrow.parquet as pq

    assert config.streaming is not None
    layout = Layout(config.streaming.folder)
    shown_part = GROUPS[0].parts()[0].name
    for hour, marker in layout.closed_hours().items():
        shown = marker["streams"]["impressions"]["rows"]
        if not shown:
            assert layout.span("past", hour).exists()  # it says that nothing was shown
            continue
        past = pq.read_table(layout.span("past", hour)).to_pylist()
        tiles = [row for row in past if row["entity"] is not None and row["at"] is None]
        assert len({(row["entity"], row["key"]) for row in tiles}) == len(tiles)
        sums: dict[str, float] = {}
        for row in tiles:
            counted = dict(row["numbers"]).get(shown_part, 0)
            sums[row["entity"]] = sums.get(row["entity"], 0) + counted
        assert sums.keys() == {entity.name for entity in entities_of(GROUPS)}
        assert len({*sums.values()}) == 1
        assert 0.5 * shown < next(iter(sums.values())) <= shown


def test_serving_looks_up_what_the_etl_computes(
    spark: SparkSession, config: PipelineConfig
) -> None:
    """Compares both in the middle of the last hour, which is open."""
    assert config.streaming is not None
    layout, tables = Layout(config.streaming.folder), HourTables(config)
    made_by_ingest = OnlineFeatures(online_store(config.streaming, config.name), GROUPS)
    assert made_by_ingest.as_of() > max(layout.closed_hours()) * HOUR_MS - 3 * HOUR_MS
    hour = max(h for h, m in layout.closed_hours().items() if m["streams"]["impressions"]["rows"])
    now_ms = hour * HOUR_MS + 37 * 60_000
    span = spark.read.parquet(str(layout.span("impressions", hour)))

    def so_far(stream: str, hours: Iterable[int]) -> Events:
        spans = layout.newest(stream, hours)
        rows = read_parquet(spark, *spans).where(F.col("timestamp_ms") < now_ms) if spans else None
        return Events(rows)

    reader = HourRows(spark, config.streaming, so_far)
    own = {stream: so_far(stream, [hour]).rows for stream in config.streaming.streams}
    opened = reader.inputs(hour, own, reader.verdicts(hour, own).hours)
    before = own["impressions"]
    assert before is not None
    # Without its marker the hour counts as open.
    marker = layout.marker(hour)
    marker.rename(marker.with_name(".hidden"))
    update_store(spark, tables, config.streaming, now_ms, {hour: opened})
    marker.with_name(".hidden").rename(marker)

    real = span.where("position between 1 and 10 and device is not null").take(301)
    asked = [row.asDict() for row in real]
    asked[-1]["user_id"] = "somebody new"
    for number, row in enumerate(asked):
        row |= {"impression_id": f"asked {number}", "session_id": f"asked {number}"}
        row |= {"timestamp_ms": now_ms}
    probes = spark.createDataFrame([Row(**row) for row in asked], span.schema)
    past = read_parquet(spark, *[layout.span("past", h) for h in range(hour - 3, hour)])
    in_hour = tables.past(spark, opened, hour, tables.read(spark).frames)
    given = {"impressions": before.unionByName(probes), "past": past.unionByName(in_hour)}
    expected = examples(spark, config, 1, hour, given)

    online = RequestFeatures(SqliteStore(layout.folder / "online"))
    compared = 0
    for row in asked:
        wanted = expected.get(row["impression_id"])
        if wanted is None:  # rejected, since the item is unknown
            with pytest.raises(UnknownItemError):
                online.rows(row["user_id"], [row["item_id"]], [1], now_ms, device="", surface="")
            continue
        (found,) = online.rows(
            row["user_id"],
            [row["item_id"]],
            [row["position"]],
            now_ms,
            device=row["device"],
            surface=row["surface"],
        )
        for name in ("impression_id", "session_id", "timestamp_ms", FEATURES.label, "_outcome"):
            wanted.pop(name, None)
        assert found.keys() == {name for name in wanted if not name.startswith("_")}
        for name, value in found.items():
            assert value == nearly(wanted[name]), (name, row)
        compared += 1
    assert compared > 200

    check_the_next_hour(online, before, asked[0]["item_id"], now_ms)
    assert max(row["item_impressions_1h"] for row in expected.values()) > 5
    assert any(row["recent_item_id"] for row in expected.values())


def check_the_next_hour(online: RequestFeatures, before: DataFrame, item: str, now_ms: int) -> None:
    """In the next hour, before the table is updated, windows begin an hour later."""
    later = (now_ms // HOUR_MS + 1) * HOUR_MS + 1
    (now,) = online.rows("u1", [item], [1], now_ms, device="mobile", surface="home")
    (then,) = online.rows("u1", [item], [1], later, device="mobile", surface="home")
    in_hour = before.where(F.col("item_id") == item).count()
    assert then["item_impressions_1h"] <= in_hour < now["item_impressions_1h"]


def nearly(value: Any) -> Any:
    """Returns a value to compare with; one side has 32-bit floats, the other 64-bit ones."""
    if isinstance(value, list):
        return [nearly(one) for one in value]
    return pytest.approx(value, rel=1e-6) if isinstance(value, float) else value
