"""Metrics of a regression against scikit-learn's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from tabular.metrics.metric_names import metric_name
from tabular.metrics.regression import ErrorSums

pytestmark = pytest.mark.unit

ORACLES = {
    "mse": sk.mean_squared_error,
    "mae": sk.mean_absolute_error,
    "rmse": lambda *rows, **more: math.sqrt(sk.mean_squared_error(*rows, **more)),
    "r2": sk.r2_score,
}
NUMBERS = st.floats(-1e4, 1e4)


@settings(max_examples=200)
@given(st.lists(st.tuples(NUMBERS, NUMBERS, st.floats(0.1, 10)), min_size=3, max_size=200))
def test_every_metric_is_that_of_scikit_learn(rows: list[tuple[float, float, float]]) -> None:
    labels, predictions, weights = np.array(rows).T
    if np.ptp(labels) < 1e-3:
        return
    halves = [slice(None, 2), slice(2, None)]
    sums = ErrorSums.merge(
        ErrorSums.count(labels[part], predictions[part], weights[part]) for part in halves
    )
    assert sums.examples == len(rows)
    for name, oracle in ORACLES.items():
        expected = oracle(labels, predictions, sample_weight=weights)
        assert sums.value(metric_name(name)) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", ORACLES)
def test_an_interval_of_95_percent_holds_the_true_value_as_often(name: str) -> None:
    chance = np.random.default_rng(3)

    def sample(rows: int) -> ErrorSums:
        labels = chance.normal(100, 20, rows)
        return ErrorSums.count(labels, labels + chance.normal(1, 10, rows))

    truth = sample(1_000_000).value(metric_name(name))
    inside = 0
    for _ in range(200):
        low, high = sample(2_000).interval(metric_name(name))
        inside += low <= truth <= high
    assert 0.9 < inside / 200 < 0.99


@pytest.mark.parametrize(("middle", "spread"), [(1e8, 1), (1e9, 10), (1.7e12, 1e4)])
def test_large_labels_that_hardly_differ_lose_no_digits(middle: float, spread: float) -> None:
    chance = np.random.default_rng(2)
    labels = np.round(middle + spread * chance.normal(size=6_000))
    predictions = labels + 0.3 * spread * chance.normal(size=6_000)
    sums = ErrorSums.merge(
        ErrorSums.count(labels[part::3], predictions[part::3]) for part in range(3)
    )
    exact = sk.r2_score(labels, predictions)
    assert sums.value(metric_name("r2")) == pytest.approx(exact, abs=1e-6)
    low, high = sums.interval(metric_name("r2"))
    assert low < exact < high


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_a_weight_that_is_none_is_an_error(weight: float) -> None:
    with pytest.raises(ValueError, match="a weight must be 0 or more"):
        ErrorSums.count(np.ones(2), np.ones(2), np.array([1.0, weight]))


def test_what_has_no_meaning_is_not_a_number() -> None:
    nothing = ErrorSums.count(*np.empty((2, 0)))
    assert all(math.isnan(nothing.value(metric_name(name))) for name in ORACLES)
    equal = ErrorSums.count(np.ones(5), np.zeros(5))
    assert math.isnan(equal.value(metric_name("r2")))
    assert math.isnan(equal.interval(metric_name("mse"))[0])  # five examples


def test_a_prediction_that_is_not_a_number_is_an_error() -> None:
    with pytest.raises(ValueError, match="predictions must be finite numbers"):
        ErrorSums.count(np.array([1.0, 2.0]), np.array([1.0, math.nan]))
