"""Predictions of several classes are judged online by log loss and accuracy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, log_loss

from streaming.online_evaluation.metrics import compare, served_metrics
from streaming.online_evaluation.tasks import online_task

pytestmark = pytest.mark.unit

TASK = online_task("multiclass")
CLASSES = 4


def rows(seed: int, count: int = 2000, noise: float = 0.0) -> pd.DataFrame:
    """Returns events whose labels are drawn from the predictions, but for noise in the logits."""
    chance = np.random.default_rng(seed)
    logits = chance.normal(size=(count, CLASSES)) * 1.5
    truth = softmax(logits)
    label = np.array([chance.choice(CLASSES, p=one) for one in truth])
    said = softmax(logits + noise * chance.normal(size=logits.shape))
    return pd.DataFrame(
        {
            "arm": "stable",
            "version": 7,
            "prediction": [*said],
            "label": label.astype(float),
            "group": [f"g{number}" for number in chance.integers(0, count // 5, count)],
        }
    )


def softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits)
    return exponents / exponents.sum(axis=1, keepdims=True)


def test_metrics_are_those_of_scikit_learn() -> None:
    found = rows(1)
    (one,) = served_metrics(found, TASK)
    said = np.stack([*found["prediction"]])
    loss = log_loss(found["label"], said)
    shares = np.bincount(found["label"].astype(int)) / len(found)
    assert one.values == pytest.approx(
        {
            "accuracy": accuracy_score(found["label"], said.argmax(axis=1)),
            "log_loss": loss,
            "normalized_entropy": loss / -(shares * np.log(shares)).sum(),
        }
    )
    for name, (low, high) in one.intervals.items():
        assert low < one.values[name] < high, name


def test_a_noisy_version_is_worse_than_the_one_before() -> None:
    found = compare(rows(2, noise=1.5), rows(1), ["normalized_entropy", "accuracy"], TASK)
    assert found.relative["normalized_entropy"][1][0] > 0.05
    assert found.absolute["accuracy"][1][1] < 0


def test_one_class_has_no_normalized_log_loss() -> None:
    (one,) = served_metrics(rows(1).assign(label=2.0), TASK)
    assert np.isnan(one.values["normalized_entropy"])
    assert np.isfinite(one.values["log_loss"])


@pytest.mark.parametrize(
    "prediction",
    [[0.5, 0.5, 0.5, 0.5], [1.0, 0.0, 0.0], [np.nan, 1, 0, 0], [-1, 2, 0, 0], 0.5, "a"],
)
def test_a_prediction_that_is_no_distribution_is_an_error(prediction: Any) -> None:
    found = rows(1, 20)
    found.at[3, "prediction"] = prediction
    with pytest.raises(ValueError, match="list of probabilities"):
        TASK.check(found["label"], found["prediction"])


@pytest.mark.parametrize("label", [4, -1, 0.5])
def test_a_label_that_is_no_class_is_an_error(label: float) -> None:
    found = rows(1, 20)
    found.loc[3, "label"] = label
    with pytest.raises(ValueError, match="a whole number from 0 to 3"):
        TASK.check(found["label"], found["prediction"])
