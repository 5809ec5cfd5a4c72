"""Tasks: which labels can be learned, where a network starts, and what a regression learns."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from hypothesis import given
from hypothesis import strategies as st

from tabular.errors import TrainingError
from tabular.feature_set import FeatureSet, Numeric
from tabular.keras_model import build_model, compile_model
from tabular.parameters import TrainerParameters
from tabular.preprocessing import DENSE_VECTOR
from tabular.tasks import Binary, LabelMoments, Regression, task_of
from tabular.training.rounds import Rounds

pytestmark = pytest.mark.unit

BINARY, REGRESSION = Binary(), Regression()
PRICES = FeatureSet("price", (Numeric("a"), Numeric("b")), task="regression")
numbers = st.floats(-1e6, 1e6).map(lambda number: number + 1e9)


def moments(*labels: float) -> LabelMoments:
    return LabelMoments.of(np.array(labels))


@given(st.lists(st.lists(numbers, max_size=6), min_size=1, max_size=5))
def test_moments_merge_to_those_of_all_labels(shares: list[list[float]]) -> None:
    found = LabelMoments(0)
    for share in shares:
        found = found.merged(moments(*share))
    together = [label for share in shares for label in share]
    assert found.rows == len(together)
    if together:
        assert found.mean == pytest.approx(np.mean(together), rel=1e-12)
        assert found.squares == pytest.approx(np.var(together) * len(together), rel=1e-6, abs=1e-3)


def test_labels_of_0_and_1_can_be_learned() -> None:
    BINARY.check("paid", moments(0, 1, 1, 0, 0))
    BINARY.check("paid", LabelMoments.of(np.arange(1_000_000) % 1000 == 0).merged(moments(1, 0)))


@pytest.mark.parametrize(
    "labels", [(0, 0), (1, 1), (0, 1, 2), (0, 2), (-1, 1), (0.5, 0.2), (math.nan, 1)]
)
def test_other_labels_are_an_error_of_a_binary_task(labels: tuple[float, ...]) -> None:
    with pytest.raises(TrainingError, match=r"the label paid must be 0 in some .* and 1 in others"):
        BINARY.check("paid", moments(*labels))


def test_one_wrong_label_among_many_is_found() -> None:
    labels = (np.arange(3_000_000) % 50 == 0).astype(float)
    BINARY.check("paid", LabelMoments.of(labels))
    labels[7] = 2
    with pytest.raises(TrainingError, match="other numbers too"):
        BINARY.check("paid", LabelMoments.of(labels))


@pytest.mark.parametrize(
    ("labels", "reason"), [((3, 3), "differ"), ((1, math.nan), "finite"), ((1, math.inf), "finite")]
)
def test_what_a_regression_cannot_learn_is_an_error(labels: tuple[float, ...], reason: str) -> None:
    REGRESSION.check("price", moments(1, 2.5))
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(TrainingError, match=f"price must .*{reason}"),
    ):
        REGRESSION.check("price", moments(*labels))


def test_a_regression_learns_large_numbers_from_its_mean_on() -> None:
    """Labels of millions, whose unit says nothing of the learning rate."""
    keras.utils.set_random_seed(7)
    chance = np.random.default_rng(7)
    x = chance.normal(size=(4000, 2)).astype(np.float32)
    noise = chance.normal(size=4000)
    labels = (5e6 + 2e6 * x[:, 0] - 1e6 * x[:, 1] + 1e5 * noise).astype(np.float32)
    found = LabelMoments.of(labels.astype(np.float64))
    parameters = TrainerParameters(
        deep_layers=(16,), dropout=0, optimizer="adam", learning_rate=0.01
    )
    rounds = Rounds(steps_per_round=60, max_rounds=15, patience=15)
    model = build_model(PRICES, {}, 2, parameters, found)
    compile_model(model, PRICES, parameters, rounds, found)
    rows = {DENSE_VECTOR: tf.constant(x)}
    assert abs(np.mean(model(rows)) - found.mean) < 1.5 * math.sqrt(found.variance)
    model.fit(rows, labels, batch_size=64, epochs=15, verbose=0)
    scores = model(rows).numpy()[:, 0].astype(np.float64)
    assert task_of(PRICES).metrics(labels, scores)["val_rmse"] < 3e5
    slope, intercept = REGRESSION.line(labels, scores * 0.5) or (0.0, 0.0)
    assert slope == pytest.approx(2, rel=0.05)
    assert abs(intercept) < 3e5


def test_a_regression_without_a_slope_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert REGRESSION.line(np.array([1, 2], np.float32), np.array([3.0, 3.0])) is None
    assert "all predictions of the eval split are equal" in caplog.text
    assert REGRESSION.line(np.array([1, 2], np.float32), np.array([4.0, 3.0])) is None
    assert "ranks no better than chance" in caplog.text
    assert math.isnan(
        REGRESSION.metrics(np.ones(2, np.float32), np.array([1, math.nan]))["val_loss"]
    )


def test_a_regression_has_no_classes() -> None:
    assert (PRICES.prediction, task_of(PRICES).prediction) == ("prediction", "prediction")
    assert FeatureSet.from_json(PRICES.to_json()) == PRICES
    with pytest.raises(ValueError, match="a regression has no classes"):
        FeatureSet("price", (Numeric("a"),), classes=("dear", "cheap"), task="regression")
