"""The file of a training: its size, and whether the network is better than a constant."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_squared_error

from base.shared_names import TRAINING_FACTS
from components.trainer.training_files import read_training
from tabular.feature_set import FeatureSet, Numeric
from tabular.labels import LabelSummary
from tabular.tasks import task_of

pytestmark = pytest.mark.unit


def write(folder: Path, **facts: object) -> None:
    content = {"rows": 100, "rounds": 3, "by_rows": {}, **facts}
    (folder / TRAINING_FACTS).write_text(json.dumps(content), "utf-8")


def problem(folder: Path) -> str | None:
    found = read_training(str(folder))
    assert found is not None
    return found.problem


def test_a_network_that_is_no_better_than_a_constant_is_a_problem(tmp_path: Path) -> None:
    write(tmp_path, val_loss=0.0712, constant_loss=0.0194)
    said = problem(tmp_path)
    assert said is not None
    assert "0.0712, is no lower than that of always predicting the mean, 0.0194" in said
    write(tmp_path, val_loss=0.0194, constant_loss=0.0194)
    assert problem(tmp_path)
    write(tmp_path, val_loss=0.0037, constant_loss=0.0194)
    assert problem(tmp_path) is None
    write(tmp_path)  # of an earlier version
    assert problem(tmp_path) is None


def test_the_loss_of_a_constant_is_that_of_scikit_learn() -> None:
    chance = np.random.default_rng(1)
    labels, weights = chance.integers(0, 3, 200), chance.random(200)

    x = (Numeric("x"),)
    sets = {
        "binary": FeatureSet("y", x),
        "multiclass": FeatureSet("y", x, task="multiclass", classes=("a", "b", "c")),
        "regression": FeatureSet("y", x, task="regression"),
    }

    def found(task: str, labels: np.ndarray, classes: int) -> float:
        return task_of(sets[task]).constant_loss(LabelSummary.of(labels, weights, classes))

    shares = np.bincount(labels, weights) / weights.sum()
    expected = log_loss(labels, np.tile(shares, (200, 1)), sample_weight=weights)
    assert found("multiclass", labels, 3) == pytest.approx(expected)
    is_one = (labels == 1).astype(int)
    mean = float(np.average(is_one, weights=weights))
    expected = log_loss(is_one, np.full(200, mean), sample_weight=weights)
    assert found("binary", is_one, 2) == pytest.approx(expected)
    mean = float(np.average(labels, weights=weights))
    expected = mean_squared_error(labels, np.full(200, mean), sample_weight=weights)
    assert found("regression", labels.astype(float), 0) == pytest.approx(expected)
