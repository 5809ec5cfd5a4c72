"""Outcomes that come hours later, late events among them: hours give what the whole log gives."""

from __future__ import annotations

import importlib
import json
import random
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, Row, SparkSession

from base.errors import ComponentError
from features.online_features import OnlineFeatures
from pipeline.config import PipelineConfig, load_config
from spark_io.connectors.connector import InputLocation
from spark_io.examples.rows import EtlContext
from spark_io.sources.inputs import find_inputs
from spark_io.sources.reading import read_source
from spark_io.sources.spans import SpanRange
from streaming.ingest import ingest
from streaming.layout import Layout
from streaming.online import online_store
from streaming.replay import late_batches, replay
from streaming.tables import HourTables, read_parquet
from streaming.verify import verify
from tests.features.test_batch import same
from tests.streaming.refunds import FIRST_HOUR, HOUR_MS, payments, refunds, refunds_config

pytestmark = pytest.mark.integration


def put(config: PipelineConfig, stream: str, name: str, events: list[dict[str, Any]]) -> None:
    assert config.streaming is not None
    assert config.streaming.watched is not None
    folder = config.streaming.watched / stream
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(event) + "\n" for event in events)
    (folder / f".{name}").write_text(text)
    (folder / f".{name}").rename(folder / f"{name}.json")


def read(spark: SparkSession, config: PipelineConfig, finish: bool) -> None:
    assert config.streaming is not None
    tables = HourTables(config)
    ingest(spark, config.streaming, lambda *_: None, once=True, finish=finish, tables=tables)


Rows = dict[str, dict[str, Any]]


def rows_of_hour(spark: SparkSession, config: PipelineConfig, hour: int) -> Rows:
    """Returns payment id -> its row, as a run of the hour reads and computes it."""
    assert config.streaming is not None
    place = InputLocation(config.data_root, spark)
    found = find_inputs(config.sources, SpanRange(1, hour), place).by_source
    frames = {
        name: read_source(spark, name, source, found[name], place.base, name == "payments").rows
        for name, source in config.sources.items()
    }
    context = EtlContext({}, (hour,), hour * HOUR_MS, config.streaming.outcomes)
    return examples(spark, config, frames, context)


def examples(
    spark: SparkSession, config: PipelineConfig, frames: dict[str, DataFrame], context: EtlContext
) -> Rows:
    build = importlib.import_module(f"{config.application}.application").build_examples
    return {row["payment_id"]: row.asDict() for row in build(spark, frames, context).collect()}


def whole_log(spark: SparkSession, config: PipelineConfig) -> Rows:
    assert config.streaming is not None
    layout = Layout(config.streaming.folder)
    frames = {
        stream: read_parquet(spark, *layout.newest(stream, layout.closed_hours()))
        for stream in config.streaming.streams
    }
    return examples(spark, config, frames, EtlContext({}, (0,), 0, config.streaming.outcomes))


def assert_same(found: Rows, expected: Rows) -> None:
    assert found.keys() == expected.keys()
    for name, row in found.items():
        assert row.keys() == expected[name].keys()
        for column, value in row.items():
            assert same(value, expected[name][column]), (name, column, row, expected[name])


@pytest.mark.parametrize(
    ("seed", "hours_of_log"),
    [(1, 2), *(pytest.param(seed, 8, marks=pytest.mark.slow) for seed in (2, 3))],
)
def test_hours_with_late_events_give_what_the_whole_log_gives(
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    hours_of_log: int,
) -> None:
    chance = random.Random(seed)
    config = refunds_config(tmp_path, monkeypatch)
    assert config.streaming is not None
    layout = Layout(config.streaming.folder)
    count = 20 * hours_of_log
    paid = [*payments(chance, count, hours_of_log)]
    made = {"payments": paid, "refunds": [*refunds(chance, paid)]}
    for late in (False, True):
        for stream, events in made.items():
            some = [event for number, event in enumerate(events) if (number % 9 == 0) == late]
            put(config, stream, f"late-{late}", some)
        read(spark, config, finish=True)
    assert verify(config.streaming).problems == []
    hours = [hour for hour in layout.closed_hours() if late_batches(layout.manifests(), hour)]
    assert len(hours) >= hours_of_log
    again = 0
    for hour in chance.sample(hours, len(hours)):
        if "late_batches" not in layout.closed_hours()[hour]:  # not yet as a consequence of another
            again += len(replay(spark, hour, config.streaming, HourTables(config)).again)
    assert again > 0
    assert verify(config.streaming).problems == []

    expected = whole_log(spark, config)
    assert len(expected) == count
    assert 0.1 < sum(row["refunded"] for row in expected.values()) / count < 0.5
    found: Rows = {}
    for hour in range(FIRST_HOUR, FIRST_HOUR + hours_of_log):
        found |= rows_of_hour(spark, config, hour)
    assert_same(found, expected)
    assert max(row["shop_count_6h"] for row in found.values()) > 1
    assert any(row["back_last_shop_2h"] for row in found.values())

    read(spark, config, finish=True)
    online = OnlineFeatures(
        online_store(config.streaming, config.name),
        config.loaded_application().member("aggregations", "test"),
    )
    # A store answers with all that is known, so it is asked after the newest event.
    newest = max(e["timestamp_ms"] for events in made.values() for e in events)
    now_ms = newest + 5
    (row,) = online.columns([{"card": "c1", "shop": "s1"}], now_ms)
    probe = {**paid[0], "payment_id": "probe", "card": "c1", "shop": "s1", "timestamp_ms": now_ms}
    frames = {
        stream: read_parquet(spark, *layout.newest(stream, layout.closed_hours()))
        for stream in config.streaming.streams
    }
    asked = spark.createDataFrame([Row(**probe)], frames["payments"].schema)
    frames["payments"] = frames["payments"].unionByName(asked)
    context = EtlContext({}, (0,), 0, config.streaming.outcomes)
    wanted = examples(spark, config, frames, context)["probe"]
    for column, value in row.items():
        assert same(value, wanted[column]), (column, value, wanted[column])


def test_an_hour_without_its_history_is_an_error(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its entities would seem to have no past."""
    without = refunds_config(
        tmp_path / "a", monkeypatch, "streaming.hour_tables=false", "streaming.online_seconds=null"
    )
    assert without.streaming is not None
    paid = [*payments(random.Random(3), 6, 1)]
    put(without, "payments", "1", paid)
    put(without, "refunds", "1", [*refunds(random.Random(3), paid)])
    ingest(spark, without.streaming, lambda *_: None, finish=True)
    config = load_config(tmp_path / "a" / "refunds.yaml")
    assert config.streaming is not None
    last = paid[0]["timestamp_ms"] // HOUR_MS
    (problem,) = verify(config.streaming).problems
    assert "past/index.json is gone" in problem
    read(spark, config, finish=False)
    with pytest.raises(ComponentError, match=r"the files of span .* are gone: its index says"):
        rows_of_hour(spark, config, last)
    layout = Layout(config.streaming.folder)
    for hour in layout.closed_hours():
        assert replay(spark, hour, config.streaming, HourTables(config)).marker["version"] == 2
    assert_same(
        rows_of_hour(spark, config, last),
        {
            name: row
            for name, row in whole_log(spark, config).items()
            if row["timestamp_ms"] // HOUR_MS == last
        },
    )
