"""A regression, from an application of two files and a config to a served model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metadata.reader import MetadataReader
from tests.e2e.project import Project
from tests.e2e.written_application import summary_of_run, write_application

pytestmark = pytest.mark.e2e

ROWS, NOISE = 6000, 100.0
FEATURES = """
from tabular.feature_set import Categorical, FeatureSet, Numeric

FEATURES = FeatureSet(
    label="fare",
    keys=("ride_id",),
    features=(Numeric("kilometres"), Categorical("zone", vocabulary=10)),
    task="regression",
)
"""
APPLICATION = """
from pyspark.sql import functions as F

from rides.features import FEATURES as features


def build_examples(spark, sources, context):
    float_columns = {name: F.col(name).cast("float") for name in ("fare", "kilometres")}
    return sources["rides"].withColumns(float_columns).select(*features.columns)
"""
CONFIG = """
trainer:
  parameters: {epochs: 20, batch_size: 256, deep_layers: [32], dropout: 0}
evaluator:
  label: fare
  prediction: prediction
  metrics: [rmse, mae, r2]
  slices: [[zone]]
  thresholds: {rmse: {max: 300}, r2: {min: 0.9}}
"""
TYPES = {"ride_id": "BYTES", "zone": "BYTES", "fare": "FLOAT", "kilometres": "FLOAT"}


@pytest.fixture(scope="module")
def rides(project: Project) -> Project:
    """The project with the application, its config and its data."""
    chance = np.random.default_rng(11)
    kilometres, zone = chance.gamma(2, 4, ROWS), chance.integers(0, 8, ROWS)
    # In cents: thousands, so that only a scaled output learns them.
    fare = 500 + 220 * kilometres + 150 * zone + chance.normal(scale=NOISE, size=ROWS)
    columns = {
        "ride_id": [f"r{number}" for number in range(ROWS)],
        "kilometres": kilometres,
        "zone": [f"z{number}" for number in zone],
        "fare": fare,
    }
    modules = {"features": FEATURES, "application": APPLICATION}
    write_application(project, "rides", modules, CONFIG, TYPES, columns)
    return project


@pytest.fixture(scope="module")
def summary(rides: Project) -> dict[str, Any]:
    return summary_of_run(rides, "rides")


def test_it_learns_and_is_pushed(rides: Project, summary: dict[str, Any]) -> None:
    assert summary["blessed"]
    assert summary["metrics"]["rmse"] < 2 * NOISE
    assert summary["metrics"]["r2"] > 0.95
    store = MetadataReader.sqlite(Path(rides.folder, "runs/rides/metadata.sqlite"))
    assert len(store.artifacts_of_type("PushedModel")) == 1


def test_a_server_predicts_fares(rides: Project, summary: dict[str, Any]) -> None:
    with rides.served("--config", "rides.yaml") as address:
        done = rides.command(
            *("-m", "serving", "predict", "--config", "rides.yaml"),
            *("--server", address, "--count", "20"),
        )
    pairs = [
        [float(cell) for cell in line.strip("│ ").split("│")]
        for line in done.stdout.splitlines()
        if line.startswith("│")
    ]
    assert len(pairs) == 20
    assert np.mean([abs(score - fare) for score, fare in pairs]) < 2 * NOISE


def test_metrics_of_classification_are_an_error_when_the_config_is_read(rides: Project) -> None:
    wrong = ("--set=evaluator.metrics=[auc]", "--set=evaluator.thresholds={auc: {min: 0.6}}")
    done = rides.command("local_runner.py", "--config", "rides.yaml", *wrong, code=2)
    assert "evaluator.metrics" in done.stderr
    assert "regression" in done.stderr
