"""Tasks: which labels can be learned, where a network starts, and what a regression learns."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from tabular.errors import TrainingError
from tabular.feature_set import Cross, FeatureSet, Numeric
from tabular.keras_model import build_model, compile_model
from tabular.labels import (
    ClassWeights,
    LabelSummary,
    check_weights,
    loss_factors,
    weights_of_classes,
)
from tabular.parameters import TrainerParameters
from tabular.preprocessing import DENSE_VECTOR
from tabular.tasks import Binary, Multiclass, Regression, Scored, Task, task_of
from tabular.training.rounds import Rounds, weighted

pytestmark = pytest.mark.unit

BINARY, REGRESSION, MULTICLASS = Binary(), Regression(), Multiclass()
PAID = FeatureSet("paid", (Numeric("a"), Numeric("b")))
TOPICS = FeatureSet(
    "topic", (Numeric("a"), Numeric("b")), task="multiclass", classes=("arts", "news", "sport")
)
PRICES = FeatureSet("price", (Numeric("a"), Numeric("b")), task="regression")
numbers = st.floats(-1e6, 1e6).map(lambda number: number + 1e9)


def summary(*labels: float, classes: int = 0) -> LabelSummary:
    return LabelSummary.of(np.array(labels), classes=classes)


def scored(labels: Any, scores: Any, weights: Any = None) -> Scored:
    labels = np.array(labels, np.float32)
    weights = np.ones(len(labels)) if weights is None else np.array(weights)
    return Scored(labels, np.array(scores), weights)


@given(
    st.lists(st.lists(st.tuples(numbers, st.integers(0, 3)), max_size=6), min_size=1, max_size=5)
)
def test_summaries_merge_to_that_of_all_rows(shares: list[list[tuple[float, int]]]) -> None:
    found = LabelSummary(0)
    for share in shares:
        labels, weights = ([row[part] for row in share] for part in (0, 1))
        part = LabelSummary.of(np.array(labels), np.array(weights))
        found = found.merged(LabelSummary.from_numbers(part.to_numbers()))
    # A weight counts a row several times.
    together = [label for share in shares for label, weight in share for _ in range(weight)]
    assert found.rows == sum(map(len, shares))
    assert found.weight == len(together)
    if together:
        assert found.mean == pytest.approx(np.mean(together), rel=1e-12)
        assert found.squares == pytest.approx(np.var(together) * len(together), rel=1e-6, abs=1e-3)


def test_labels_are_counted_by_class() -> None:
    found = summary(0, 1, 1, 2, 3, -1, 0.5, math.nan, classes=3)
    assert found.of_class == (1, 2, 1)
    assert found.others == 4
    weighted = LabelSummary.of(np.array([0, 1, 1]), np.array([0.5, 2, 0]), classes=2)
    assert weighted.shares == pytest.approx((0.2, 0.8))
    both = found.merged(summary(2, 5, classes=3))
    assert (both.of_class, both.others, both.rows) == ((1, 2, 2), 5, 10)


def test_labels_of_0_and_1_can_be_learned() -> None:
    found = summary(0, 1, 1, 0, 0, classes=2)
    BINARY.check_values(PAID, found, "train")
    BINARY.check(PAID, found)


@pytest.mark.parametrize("labels", [(0, 0), (1, 1)])
def test_labels_that_are_all_equal_are_an_error(labels: tuple[float, ...]) -> None:
    with pytest.raises(TrainingError, match=r"the label paid must be 0 in some .* and 1 in others"):
        BINARY.check(PAID, summary(*labels, classes=2))


@pytest.mark.parametrize("labels", [(0, 1, 2), (0, 2), (-1, 1), (0.5, 0.2), (math.nan, 1)])
def test_other_labels_are_an_error_of_a_binary_task(labels: tuple[float, ...]) -> None:
    with pytest.raises(TrainingError, match=r"the label paid must be 0 or 1 .* in split eval"):
        BINARY.check_values(PAID, summary(*labels, classes=2), "eval")


@pytest.mark.parametrize("weight", [-1e-9, math.nan, math.inf])
def test_a_wrong_weight_is_an_error_that_names_the_column(weight: float) -> None:
    with np.errstate(invalid="ignore"):
        found = LabelSummary.of(np.array([0, 1, 1]), np.array([1, weight, 1]), classes=2)
    with pytest.raises(TrainingError, match=r"weight cost must be .* Received: 1 of 3 in split ev"):
        check_weights("cost", found, "eval")


def test_weights_that_are_all_0_are_an_error() -> None:
    found = LabelSummary.of(np.array([0, 1]), np.zeros(2), classes=2)
    with pytest.raises(TrainingError, match="the weight cost must be above 0 in some examples"):
        check_weights("cost", found, "train")


@pytest.mark.parametrize(
    ("labels", "reason"), [((3, 3), "differ"), ((1, math.nan), "finite"), ((1, math.inf), "finite")]
)
def test_what_a_regression_cannot_learn_is_an_error(labels: tuple[float, ...], reason: str) -> None:
    REGRESSION.check(PRICES, summary(1, 2.5))
    with pytest.raises(TrainingError, match=f"price must .*{reason}"):
        REGRESSION.check(PRICES, summary(*labels))


def test_a_regression_learns_large_numbers_from_its_mean_on() -> None:
    """Labels of millions, whose unit says nothing of the learning rate."""
    keras.utils.set_random_seed(7)
    chance = np.random.default_rng(7)
    x = chance.normal(size=(4000, 2)).astype(np.float32)
    noise = chance.normal(size=4000)
    labels = (5e6 + 2e6 * x[:, 0] - 1e6 * x[:, 1] + 1e5 * noise).astype(np.float32)
    found = LabelSummary.of(labels)
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
    assert task_of(PRICES).metrics(scored(labels, scores))["val_rmse"] < 3e5
    slope, intercept = REGRESSION.line(scored(labels, scores * 0.5)) or (0.0, 0.0)
    assert slope == pytest.approx(2, rel=0.05)
    assert abs(intercept) < 3e5


def test_a_regression_without_a_slope_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert REGRESSION.line(scored([1, 2], [3.0, 3.0])) is None
    assert "all predictions of the eval split are equal" in caplog.text
    assert REGRESSION.line(scored([1, 2], [4.0, 3.0])) is None
    assert "ranks no better than chance" in caplog.text
    assert math.isnan(REGRESSION.metrics(scored([1, 1], [1, math.nan]))["val_loss"])


def test_a_regression_has_no_classes() -> None:
    assert (PRICES.prediction, task_of(PRICES).prediction) == ("prediction", "prediction")
    assert FeatureSet.from_json(PRICES.to_json()) == PRICES
    with pytest.raises(ValueError, match="a regression has no classes"):
        FeatureSet("price", (Numeric("a"),), classes=("dear", "cheap"), task="regression")


@pytest.mark.parametrize("task", [BINARY, REGRESSION])
def test_a_weight_counts_a_row_several_times(task: Task) -> None:
    """In the validation and in the calibration."""
    chance = np.random.default_rng(4)
    scores = chance.random(300)
    labels = (chance.random(300) < scores**2).astype(float)
    weights = chance.integers(0, 4, 300)
    repeated = np.repeat(np.arange(300), weights)
    one, other = scored(labels, scores, weights), scored(labels[repeated], scores[repeated])
    assert task.metrics(one) == pytest.approx(task.metrics(other))
    line = task.line(one)
    assert line is not None
    assert line == pytest.approx(task.line(other), rel=1e-3)


def test_a_declared_weight_is_carried_along_and_never_learned() -> None:
    paid = FeatureSet("paid", (Numeric("a"),), keys=("id",), weight="cost")
    assert paid.columns == ("id", "paid", "cost", "a")
    assert "cost" not in paid.single_values
    assert FeatureSet.from_json(paid.to_json()) == paid
    with pytest.raises(ValueError, match="Declared twice: a"):
        FeatureSet("paid", (Numeric("a"),), weight="a")
    with pytest.raises(ValueError, match="'cost', which is a label, a weight, a key or a list"):
        FeatureSet("paid", (Numeric("a"), Cross(("a", "cost"), 10)), weight="cost")


def test_labels_of_all_classes_can_be_learned() -> None:
    found = summary(0, 1, 2, 2, classes=3)
    MULTICLASS.check_values(TOPICS, found, "train")
    MULTICLASS.check(TOPICS, found)


@pytest.mark.parametrize("labels", [(1, 2, 3), (0, 1, -1), (0, 1.5, 2), (0, 1, math.nan)])
def test_other_labels_are_an_error_of_a_multiclass_task(labels: tuple[float, ...]) -> None:
    """Such as 1, 2, 3 instead of 0, 1, 2."""
    with pytest.raises(TrainingError, match=r"the label topic must be a whole number from 0 to 2"):
        MULTICLASS.check_values(TOPICS, summary(*labels, classes=3), "train")


def test_a_class_that_never_occurs_is_an_error_that_names_it() -> None:
    with pytest.raises(TrainingError, match=r"Received: none of 1 \(news\) in 3. Check how"):
        MULTICLASS.check(TOPICS, summary(0, 2, 2, classes=3))
    weightless = LabelSummary.of(np.array([0, 1, 2]), np.array([1, 1, 0]), classes=3)
    with pytest.raises(TrainingError, match=r"2 \(sport\)"):
        MULTICLASS.check(TOPICS, weightless)


@pytest.mark.parametrize("class_weights", [None, {1: 20}, "balanced"])
def test_classes_are_learned_from_their_shares_on(class_weights: ClassWeights | None) -> None:
    """A rare class keeps its share of the predictions, with class weights and without."""
    keras.utils.set_random_seed(7)
    chance = np.random.default_rng(7)
    x = chance.normal(size=(9000, 2)).astype(np.float32)
    true = softmax(np.stack([x[:, 0] + 2, x[:, 1] - 2.5, -x[:, 0] - x[:, 1]], axis=1), axis=1)
    labels = (true.cumsum(axis=1) < chance.random((9000, 1))).sum(axis=1).astype(np.float32)
    found = LabelSummary.of(labels, classes=3)
    assert found.shares[1] < 0.03
    parameters = TrainerParameters(
        model="logistic_regression",
        optimizer="adam",
        learning_rate=0.05,
        class_weights=class_weights,
    )
    rounds = Rounds(steps_per_round=90, max_rounds=5, patience=5)
    model = build_model(TOPICS, {}, 2, parameters, found)
    compile_model(model, TOPICS, parameters, rounds, found)
    start = model({DENSE_VECTOR: tf.zeros([1, 2])}).numpy()[0]
    assert start == pytest.approx(found.shares, rel=1e-5)
    batches = tf.data.Dataset.from_tensor_slices(({DENSE_VECTOR: x}, labels[:, np.newaxis]))
    batches = batches.shuffle(9000, seed=1).batch(100)
    factors = loss_factors(weights_of_classes(class_weights, found), False, found)
    model.fit(batches if factors is None else batches.map(weighted(factors)), epochs=5, verbose=0)
    scores = model({DENSE_VECTOR: tf.constant(x)}).numpy()
    assert scores.mean(axis=0) == pytest.approx(found.shares, rel=0.2)
    metrics = MULTICLASS.metrics(scored(labels, scores))
    best = -np.log(true[np.arange(9000), labels.astype(int)]).mean()
    assert best - 0.02 < metrics["val_loss"] < best + 0.03
    assert metrics["val_macro_auc"] > 0.8
    # Scores that are too sure are brought back by one number.
    sure = softmax(3 * np.log(scores), axis=1)
    slope, intercept = MULTICLASS.line(scored(labels, sure)) or (0.0, 0.0)
    assert slope == pytest.approx(1 / 3, rel=0.1)
    assert intercept == 0


def test_classes_that_cannot_be_told_apart_are_not_calibrated(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    sure = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    assert MULTICLASS.line(scored([1, 2, 0], sure)) is None
    assert "tells classes apart no better than chance" in caplog.text
    assert MULTICLASS.line(scored([0, 1, 2], sure)) is None  # any slope is too small
    assert "no error on the eval split" in caplog.text
    assert math.isnan(MULTICLASS.metrics(scored([0], [[math.nan, 0.5, 0.5]]))["val_loss"])


@pytest.mark.parametrize(
    ("task", "classes", "said"),
    [
        ("multiclass", ("a", "b"), 'For two classes declare task="binary"'),
        ("multiclass", None, "classes of a multiclass task must be the names of labels 0, 1, 2"),
        ("multiclass", ("a", "b", "a"), "classes must have different names"),
        ("binary", ("a", "b", "c"), 'For more classes declare task="multiclass"'),
    ],
)
def test_classes_must_fit_the_task(task: Any, classes: Any, said: str) -> None:
    given = {} if classes is None else {"classes": classes}
    with pytest.raises(ValueError, match=said):
        FeatureSet("topic", (Numeric("a"),), task=task, **given)
