"""The table of versions: versions on disk with their labels, pushes and metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from base.errors import ComponentError
from components.pusher.release import Release, write_release
from components.pusher.versions_folder import VersionsFolder
from pipeline.config import PipelineConfig, load_config
from pipeline.evaluator_section import Evaluator
from serving.release.versions import (
    VersionLine,
    shown_metrics,
    transform_graph_of,
    version_lines,
)
from tests.metadata.tfx_store import TfxStore

pytestmark = pytest.mark.unit


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    """Versions 7 and 8."""
    places = [f"run_root={tmp_path / 'runs'}", f"serving_root={tmp_path / 'served'}"]
    config = load_config("applications/ctr/configs/ctr.yaml", places)
    for version in (7, 8):
        (config.serving_folder / str(version)).mkdir(parents=True)
    config.run_folder.mkdir(parents=True)
    return config


def test_a_version_has_its_label_its_run_and_its_metrics(config: PipelineConfig) -> None:
    tfx = TfxStore(config.run_folder)
    tfx.full_run("first", "7", destination=config.serving_folder / "7")
    tfx.full_run("second", "8", destination=config.serving_folder / "8")
    summary = config.run_folder / "runs" / "second" / "run_summary.json"
    summary.parent.mkdir(parents=True)
    summary.write_text(json.dumps({"metrics": {"auc": 0.7}}))
    write_release(config.serving_folder, Release(stable=7, canary=8))
    VersionsFolder(config.serving_folder).withdraw(7, "log loss")
    newest, oldest = version_lines(config)
    assert (newest.version, newest.label, newest.withdrawn) == (8, "canary", None)
    assert (newest.run_id, newest.metrics) == ("second", {"auc": 0.7})
    assert newest.pushed is not None
    assert (oldest.version, oldest.label, oldest.withdrawn) == (7, "stable", "log loss")
    assert (oldest.run_id, oldest.metrics) == ("first", {})


@pytest.mark.parametrize(
    ("prediction", "metrics", "evaluated", "header"),
    [
        ("probability", {}, {"ece": 0.1, "auc": 0.7, "positives": 9}, "auc ece"),
        ("probabilities", {}, {"log_loss": 0.9, "macro_auc": 0.8}, "log_loss macro_auc"),
        (
            "prediction",
            {"rmse": {"max": 10}},
            {"rmse": 2.5, "mae": 1.5, "example_count": 9},
            "rmse mae",
        ),
        ("probability", {}, {"auc_of_book": 0.7}, "auc_of_book"),  # of an earlier config
        ("probability", {}, {}, ""),
    ],
)
def test_the_metrics_are_those_of_the_task(
    config: PipelineConfig,
    prediction: str,
    metrics: dict[str, Any],
    evaluated: dict[str, float],
    header: str,
) -> None:
    given = {"label": "l", "prediction": prediction, "thresholds": metrics}
    config = config.model_copy(update={"evaluator": Evaluator.model_validate(given)})
    lines = [VersionLine(2, "", None), VersionLine(1, "", None, metrics=evaluated)]
    assert shown_metrics(config, lines) == header.split()


def test_a_version_without_push_has_no_run_and_no_metrics(config: PipelineConfig) -> None:
    assert [(line.version, line.run_id) for line in version_lines(config)] == [(8, ""), (7, "")]
    TfxStore(config.run_folder).full_run("first", "7")
    assert [(line.version, line.run_id) for line in version_lines(config)] == [
        (8, ""),
        (7, "first"),
    ]


def test_the_transform_graph_is_that_of_the_versions_model(config: PipelineConfig) -> None:
    tfx = TfxStore(config.run_folder)
    made = tfx.full_run("first", "7")
    (graph,) = tfx.store.get_artifacts_by_id([made["transform_graph"]])
    assert transform_graph_of(config, 7) == Path(graph.uri)
    with pytest.raises(ComponentError, match="has no push of version 8"):
        transform_graph_of(config, 8)
