"""Hour by hour, and in serving, features equal those of the whole log of payments."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from applications.fraud import daily
from applications.fraud.card_groups import day_name
from applications.fraud.etl import build_examples
from applications.fraud.features import FEATURES
from applications.fraud.request_features import Payment, RequestFeatures, UnknownMerchantError
from applications.fraud.sample_data.dirt import Dirt
from applications.fraud.sample_data.payment_log import PaymentLogConfig, generate_payment_log
from base.durations import HOUR_MS
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
from streaming.online import update_store
from streaming.tables import HourTables, read_parquet

pytestmark = pytest.mark.integration

CONFIG = "applications/fraud/configs/fraud-stream.yaml"
PAYMENT = Payment.__dataclass_fields__
VARYING = "amount_deviation"
START_MS = 1_709_251_200_000  # 2024-03-01T00 UTC


@pytest.fixture(scope="module")
def config(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> PipelineConfig:
    """Returns a config whose hours of a day and an hour are closed, with their card groups."""
    root = tmp_path_factory.mktemp("hours") / "log"
    log = PaymentLogConfig(
        payments=6_000, days=2, chargeback_hours=5, seed=6, dirt=Dirt.preset("heavy")
    )
    generate_payment_log(log, root)
    keep_hours(root)
    places = [f"{key}={root}" for key in ("data_root", "streaming.folder", "streaming.watched")]
    outcome = "{of: payments, by: payment_id, within: 5h, may_be_open: 0s}"
    config = load_config(CONFIG, [*places, f"streaming.streams.chargebacks.outcome={outcome}"])
    assert config.streaming is not None
    write_groups(spark, config)
    ingest(spark, config.streaming, lambda *_: None, finish=True, tables=HourTables(config))
    write_groups(spark, config)
    return config


def write_groups(spark: SparkSession, config: PipelineConfig) -> None:
    for day in daily.missing_days(config):
        daily.write_day(spark, config, day)


def keep_hours(root: Path) -> None:
    """Keeps hours around midnight and a few outcomes, since each hour takes seconds to close."""
    for name, last in (("payments", 26), ("chargebacks", 28), ("decisions", 28)):
        for path in (root / name).rglob("*.json.gz"):
            lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
            path.write_bytes(gzip.compress(b"".join(x for x in lines if _is_kept(x, last))))


def _is_kept(line: bytes, last: int) -> bool:
    try:
        hour = (json.loads(line)["timestamp_ms"] - START_MS) // HOUR_MS
    except ValueError:
        return True  # a broken line
    return hour < 0 or 22 <= hour < last


def hours_with_payments(config: PipelineConfig) -> list[int]:
    assert config.streaming is not None
    closed = Layout(config.streaming.folder).closed_hours()
    return [hour for hour, marker in closed.items() if marker["streams"]["payments"]["rows"]]


def examples(
    spark: SparkSession,
    config: PipelineConfig,
    hours: int,
    last: int,
    given: Mapping[str, DataFrame] | None = None,
) -> dict[str, dict]:
    """Returns payment id -> its example, for a window of hours; `given` replaces sources."""
    wanted, place = SpanRange(hours, last), InputLocation(config.data_root, spark)
    found = find_inputs(config.sources, wanted, place).by_source
    frames: dict[str, DataFrame] = {
        name: read_source(spark, name, source, found[name], place.base, name == "payments").rows
        for name, source in config.sources.items()
    }
    frames |= given or {}
    assert config.streaming is not None
    window = tuple(range(last - hours + 1, last + 1))
    begin_ms, outcomes = window[0] * HOUR_MS, config.streaming.outcomes
    context = EtlContext(config.etl.parameters, window, begin_ms, outcomes)
    rows = build_examples(spark, frames, context).where(f"{OUTCOME} is null").collect()
    return {row["payment_id"]: row.asDict() for row in rows}


def test_every_feature_equals_that_of_the_batch(
    spark: SparkSession, config: PipelineConfig
) -> None:
    hours = hours_with_payments(config)
    whole = examples(spark, config, hours[-1] - hours[0] + 1, hours[-1])
    by_hour: dict[str, dict] = {}
    for hour in hours:
        by_hour |= examples(spark, config, 1, hour)
    assert len(by_hour) > 150
    different = {
        (name, value, whole[one][name])
        for one, row in by_hour.items()
        for name, value in row.items()
        if whole[one][name] != value and name != VARYING
    }
    assert not different
    for one, row in by_hour.items():  # a variance depends on the order in its last digit
        assert row[VARYING] == nearly(whole[one][VARYING])
    assert max(row["card_count_30d"] for row in by_hour.values()) > 1
    assert max(row["card_group"] for row in by_hour.values()) >= 1


def test_days_are_written_once_when_their_hours_have_closed(config: PipelineConfig) -> None:
    folder = Path(config.data_root) / "card_groups"
    assert config.streaming is not None
    first = min(Layout(config.streaming.folder).closed_hours()) // 24
    of_payments = hours_with_payments(config)[0] // 24
    assert sorted(path.name for path in folder.iterdir()) == [
        day_name(day) for day in (0, *range(first - 1, of_payments + 1))
    ]
    places = [f"--set={key}={config.data_root}" for key in ("data_root", "streaming.folder")]
    done = CliRunner().invoke(daily.main, ["--config", CONFIG, *places])
    assert (done.exit_code, done.output) == (0, "no new day is complete\n")


def test_serving_looks_up_what_the_etl_computes(
    spark: SparkSession, config: PipelineConfig
) -> None:
    """Compares both in the middle of the last hour, which is open."""
    assert config.streaming is not None
    layout, tables = Layout(config.streaming.folder), HourTables(config)
    hour = hours_with_payments(config)[-1]
    now_ms = hour * HOUR_MS + 37 * 60_000

    def so_far(stream: str, hours: Iterable[int]) -> Events:
        spans = layout.newest(stream, hours)
        rows = read_parquet(spark, *spans).where(F.col("timestamp_ms") < now_ms) if spans else None
        return Events(rows)

    reader = HourRows(spark, config.streaming, so_far)
    own = {stream: so_far(stream, [hour]).rows for stream in config.streaming.streams}
    opened = reader.inputs(hour, own, reader.verdicts(hour, own).hours)
    before = own["payments"]
    assert before is not None
    marker = layout.marker(hour)  # without it the hour counts as open
    marker.rename(marker.with_name(".hidden"))
    update_store(spark, tables, config.streaming, now_ms, {hour: opened})
    marker.with_name(".hidden").rename(marker)

    payments = read_parquet(spark, *layout.newest("payments", hours_with_payments(config)))
    some = payments.where("card is not null and amount_cents > 0").orderBy("payment_id").take(80)
    asked = [row.asDict() for row in some]
    asked[-1] |= {"card": "somebody new", "device": "new", "network": "new", "country": None}
    asked[-2]["merchant"] = "nobody"
    for number, row in enumerate(asked):
        row |= {"payment_id": f"asked {number}", "timestamp_ms": now_ms}
    probes = spark.createDataFrame([Row(**row) for row in asked], before.schema)
    past = read_parquet(spark, *[layout.span("past", h) for h in layout.closed_hours() if h < hour])
    in_hour = tables.past(spark, opened, hour, tables.read(spark).frames)
    given = {"payments": before.unionByName(probes), "past": past.unionByName(in_hour)}
    expected = examples(spark, config, 1, hour, given)

    online, compared = RequestFeatures(SqliteStore(layout.folder / "online")), 0
    not_served = {*FEATURES.keys, FEATURES.label}
    for row in asked:
        payment = Payment(**{name: row[name] for name in PAYMENT})
        wanted = expected.get(row["payment_id"])
        if wanted is None:  # rejected, since the merchant is unknown
            with pytest.raises(UnknownMerchantError):
                online.row(payment)
            continue
        wanted = {n: v for n, v in wanted.items() if n not in not_served and not n.startswith("_")}
        found = online.row(payment)
        assert found.keys() == wanted.keys()
        for name, value in found.items():
            assert value == nearly(wanted[name]), (name, row)
        compared += 1
    assert compared > 60


def nearly(value: Any) -> Any:
    """Returns a value to compare with; one side has 32-bit floats, the other 64-bit ones."""
    return pytest.approx(value, rel=1e-5, abs=1e-6) if isinstance(value, float) else value
