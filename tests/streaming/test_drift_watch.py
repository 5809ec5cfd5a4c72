"""The hours that DriftWatch checks, with a real store, after gc has deleted some files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow_data_validation as tfdv

from metadata.writer import MetadataWriter, NewArtifact, Value
from pipeline.config import PipelineConfig, load_config
from streaming.online_evaluation.drift_watch import DriftWatch

pytestmark = pytest.mark.component
ROOT = Path(__file__).resolve().parents[2]
HOURS = (474_000, 474_001, 474_002)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PipelineConfig:
    monkeypatch.chdir(ROOT)
    places = {
        "metadata.path": "metadata.sqlite",
        "streaming.folder": "data",
        "serving.request_log.folder": "requests",
    }
    settings = [f"{key}={tmp_path / name}" for key, name in places.items()]
    return load_config("applications/ctr/configs/ctr-loop.yaml", settings)


def statistics_of(folder: Path, hour: int) -> Path:
    return folder / "artifacts" / str(hour)


@pytest.fixture
def folder(config: PipelineConfig, tmp_path: Path) -> Path:
    """Records complete runs of three hours with statistics, and returns the folder."""
    rng = np.random.default_rng(7)
    writer = MetadataWriter.connect(config.metadata_connection, config.name)
    for hour in HOURS:
        price = rng.normal(10, 2, 500).astype(np.float32)
        path = statistics_of(tmp_path, hour) / "Split-train" / "FeatureStats.pb"
        path.parent.mkdir(parents=True)
        found = tfdv.generate_statistics_from_dataframe(pd.DataFrame({"price": price}))
        path.write_bytes(found.SerializeToString())
        span: dict[str, Value] = {"span": hour}
        for component, key, made in (
            ("SparkExampleGen", "examples", NewArtifact("Examples", str(tmp_path), span)),
            (
                "StatisticsGen",
                "statistics",
                NewArtifact("ExampleStatistics", str(path.parents[1])),
            ),
            ("Pusher", "pushed_model", NewArtifact("PushedModel", str(tmp_path))),
        ):
            writer.record(
                f"tfx.components.{component}", {}, outputs=[(key, made)], run_id=f"r{hour}"
            )
    return tmp_path


def test_each_hour_is_compared_with_the_one_before(config: PipelineConfig, folder: Path) -> None:
    watch = DriftWatch(config)
    assert watch.new_hours() == [*HOURS]
    for hour in HOURS:
        watch.look(hour)
    assert [watch.results()[hour]["before"] for hour in HOURS] == [None, *HOURS[:2]]
    assert watch.new_hours() == []


def test_hours_whose_statistics_are_gone_are_left_out(config: PipelineConfig, folder: Path) -> None:
    shutil.rmtree(statistics_of(folder, HOURS[1]))
    watch = DriftWatch(config)
    assert watch.new_hours() == [HOURS[0], HOURS[2]]
    (price,) = watch.look(HOURS[2])
    assert price.feature == "price"
    assert watch.results()[HOURS[2]]["before"] == HOURS[0]
    shutil.rmtree(folder / "artifacts")
    assert DriftWatch(config).new_hours() == []
