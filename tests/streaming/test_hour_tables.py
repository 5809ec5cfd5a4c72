"""An hour at a time, with the tables of the hours before: the same features as of the whole log."""

from __future__ import annotations

import pytest
from pyspark.sql import DataFrame, SparkSession

from components.spark_example_gen.connectors.found import Place
from components.spark_example_gen.inputs import find_inputs
from components.spark_example_gen.reading import read_source
from components.spark_example_gen.rows import OUTCOME, EtlContext
from components.spark_example_gen.spans import SpanRange
from pipeline.config import PipelineConfig, load_config
from pipeline.ctr import features
from pipeline.ctr.etl import build_examples
from sample_data.click_log import ClickLogConfig, generate_click_log
from sample_data.dirt import Dirt
from streaming.ingest import ingest
from streaming.layout import Layout
from streaming.tables import HourTables

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def config(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> PipelineConfig:
    """Whose hours are closed."""
    root = tmp_path_factory.mktemp("hours") / "log"
    dirt = Dirt.preset("heavy")
    generate_click_log(ClickLogConfig(impressions=3_000, hours=4, seed=6, dirt=dirt), root)
    places = [f"{key}={root}" for key in ("data_root", "streaming.folder", "streaming.watched")]
    config = load_config("pipeline/configs/ctr-stream.yaml", places)
    assert config.streaming is not None
    ingest(spark, config.streaming, lambda *_: None, finish=True, tables=HourTables(config))
    return config


def examples(spark: SparkSession, config: PipelineConfig, hours: int, last: int) -> dict[str, dict]:
    """Impression id -> its example, of a window of hours."""
    wanted, place = SpanRange(hours, last), Place(config.data_root, spark)
    found = find_inputs(config.sources, wanted, place).found
    frames: dict[str, DataFrame] = {
        name: read_source(spark, name, source, found[name], place.base, name == "impressions").rows
        for name, source in config.sources.items()
    }
    context = EtlContext(config.etl.parameters, tuple(range(last - hours + 1, last + 1)))
    rows = build_examples(spark, frames, context).where(f"{OUTCOME} is null").collect()
    return {row["impression_id"]: row.asDict() for row in rows}


def test_every_feature_equals_that_of_the_batch(
    spark: SparkSession, config: PipelineConfig
) -> None:
    assert config.streaming is not None
    closed = Layout(config.streaming.folder).closed_hours()
    hours = [hour for hour, marker in closed.items() if marker["impressions"]["rows"]]
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
    """An entity has a row an hour, however often it was shown."""
    import pyarrow.parquet as pq

    assert config.streaming is not None
    layout = Layout(config.streaming.folder)
    for hour, marker in layout.closed_hours().items():
        shown = marker["impressions"]["rows"]
        if not shown:
            assert not layout.span("counts", hour).exists()
            continue
        counts = pq.read_table(layout.span("counts", hour)).to_pandas()
        begins = counts[counts["timestamp_ms"] % 3_600_000 == 0]
        keys = ["feature", "user_id", "item_id", "category"]
        assert not begins.duplicated(keys).any()
        by_feature = begins.groupby("feature")["impressions"].sum()
        assert set(by_feature.index) == {feature.name for feature in features.WINDOW_FEATURES}
        assert by_feature.nunique() == 1
        assert 0.5 * shown < by_feature.iloc[0] <= shown
