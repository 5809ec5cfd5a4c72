"""Labels of served events are those of the ETL's rows, found by a key of the examples."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from metadata.reader import MetadataReader
from metadata.writer import MetadataWriter, NewArtifact
from pipeline.config import PipelineConfig
from streaming.online_evaluation.evaluate import OnlineEvaluation
from streaming.online_evaluation.rule import PROMOTE, WAIT
from tests.streaming.rides import close_hour, rides, rides_config

pytestmark = pytest.mark.component

HOUR = 474_000


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PipelineConfig:
    return rides_config(tmp_path, monkeypatch, "streaming.served={group: driver, key: ride_id}")


def example(ride: str, fare: float | None) -> bytes:
    features = {"ride_id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[ride.encode()]))}
    if fare is not None:
        features["fare"] = tf.train.Feature(float_list=tf.train.FloatList(value=[fare]))
    made = tf.train.Example(features=tf.train.Features(feature=features))
    return bytes(made.SerializeToString())


def run(
    config: PipelineConfig,
    hour: int,
    fares: Mapping[str, float | None],
    *,
    first: int | None = None,
) -> Path:
    """Records a complete run that has read an hour, and returns the folder of its examples."""
    number = len([*Path(config.run_root).glob("examples/*")])
    folder = Path(config.run_root) / "examples" / str(number)
    rows = [*fares.items()]
    for split, some in (("train", rows[::2]), ("eval", rows[1::2])):
        path = folder / f"Split-{split}" / "data-00000.gz"
        path.parent.mkdir(parents=True)
        options = tf.io.TFRecordOptions(compression_type="GZIP")
        with tf.io.TFRecordWriter(str(path), options) as file:
            for ride, fare in some:
                file.write(example(ride, fare))
    writer = MetadataWriter.connect(config.metadata_connection, config.name)
    spans = {} if first is None else {"spans": f"{first}-{hour}"}
    examples = NewArtifact("Examples", str(folder), {"span": hour, **spans})
    pushed = NewArtifact("PushedModel", str(folder))
    for component, key, artifact in (
        ("SparkExampleGen", "examples", examples),
        ("Pusher", "pushed_model", pushed),
    ):
        made = [(key, artifact)]
        writer.record(f"tfx.components.{component}", {}, outputs=made, run_id=f"r{number}")
    return folder


def fares(*frames: pd.DataFrame) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for frame in frames:
        found |= dict(zip(frame["ride_id"], frame["fare"], strict=True))
    return found


def served(config: PipelineConfig, hour: int, *frames: pd.DataFrame) -> None:
    """Closes an hour whose events have no label of their own."""
    close_hour(config, hour, [frame.drop(columns="fare") for frame in frames])


def test_predictions_are_judged_by_the_labels_of_the_etl(config: PipelineConfig) -> None:
    stable, canary = rides(7, "stable", 9000, 1), rides(8, "canary", 9000, 2)
    served(config, HOUR, stable, canary)
    assert OnlineEvaluation(config).new_hours() == []  # no run has read the hour
    run(config, HOUR, fares(stable, canary))
    evaluation = OnlineEvaluation(config)
    assert evaluation.new_hours() == [HOUR]
    found = {one.version: one for one in evaluation.evaluate(HOUR)}
    rmse = float(np.sqrt(((canary["prediction"] - canary["fare"]) ** 2).mean()))
    assert found[8].values["rmse"] == pytest.approx(rmse, rel=1e-5)
    assert found[8].unlabelled == 0
    assert evaluation.decide().what == PROMOTE
    assert evaluation.new_hours() == []
    store = MetadataReader.sqlite(config.metadata_path)
    (recorded,) = store.executions_of_type("streaming.OnlineEvaluation")
    assert "examples" in recorded.inputs


def test_a_later_run_of_the_hour_judges_it_again(config: PipelineConfig) -> None:
    canary = rides(8, "canary", 1000, 2)
    served(config, HOUR, canary)
    few = dict([*fares(canary).items()][:700])
    run(config, HOUR, few)
    evaluation = OnlineEvaluation(config)
    assert evaluation.new_hours() == [HOUR]
    (one,) = evaluation.evaluate(HOUR)
    assert (one.events, one.unlabelled) == (1000, 300)
    decision = evaluation.decide()
    assert decision.what == WAIT
    assert "1 of the last hours wait for labels" in decision.reason
    run(config, HOUR, fares(canary))
    assert evaluation.new_hours() == [HOUR]
    (one,) = evaluation.evaluate(HOUR)
    assert one.unlabelled == 0


def test_a_run_of_several_hours_labels_all_of_them(config: PipelineConfig) -> None:
    hours = {HOUR + n: rides(8, "canary", 400, n) for n in range(3)}
    for hour, frame in hours.items():
        served(config, hour, frame)
    run(config, HOUR + 2, fares(*hours.values()), first=HOUR)
    evaluation = OnlineEvaluation(config)
    assert evaluation.new_hours() == [*hours]
    assert [evaluation.evaluate(hour)[0].unlabelled for hour in hours] == [0, 0, 0]


def test_a_row_without_a_label_leaves_its_event_unlabelled(config: PipelineConfig) -> None:
    canary = rides(8, "canary", 400, 2)
    served(config, HOUR, canary)
    run(config, HOUR, {**fares(canary), canary["ride_id"].iloc[0]: None})
    evaluation = OnlineEvaluation(config)
    assert evaluation.new_hours() == [HOUR]
    (one,) = evaluation.evaluate(HOUR)
    assert one.unlabelled == 1


def test_examples_that_were_deleted_leave_their_hour_out(config: PipelineConfig) -> None:
    canary = rides(8, "canary", 400, 2)
    served(config, HOUR, canary)
    shutil.rmtree(run(config, HOUR, fares(canary)))
    evaluation = OnlineEvaluation(config)
    assert evaluation.new_hours() == []
    assert evaluation.decide().what == WAIT


def cut_short(folder: Path) -> None:
    path = folder / "Split-eval" / "data-00000.gz"
    path.write_bytes(path.read_bytes()[:-50])


def two_labels(folder: Path) -> None:
    shutil.copytree(folder / "Split-eval", folder / "Split-more")
    path = folder / "Split-more" / "data-00000.gz"
    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(compression_type="GZIP")) as file:
        file.write(example("8-2-1", 1.0))


@pytest.mark.parametrize(
    ("damage", "said"),
    [(cut_short, "cut short or damaged"), (two_labels, "one label for each ride_id")],
)
def test_examples_that_cannot_be_read_are_a_problem_of_the_hour(
    config: PipelineConfig, damage: Callable[[Path], None], said: str
) -> None:
    canary = rides(8, "canary", 400, 2)
    served(config, HOUR, canary)
    damage(run(config, HOUR, fares(canary)))
    evaluation = OnlineEvaluation(config)
    assert evaluation.new_hours() == [HOUR]
    assert evaluation.evaluate(HOUR) == []
    assert said in evaluation.rows.problems[HOUR]
