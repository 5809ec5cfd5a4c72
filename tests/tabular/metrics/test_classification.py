"""Metrics of a classifier against scikit-learn's exact values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from tabular.metrics import scores as scores_module
from tabular.metrics.classification import metric_value
from tabular.metrics.intervals import interval, resampled
from tabular.metrics.metric_names import metric_name
from tabular.metrics.scores import ScoreCounts
from tests.tabular.metrics.distributions import DISTRIBUTIONS, drawn

pytestmark = pytest.mark.unit

CLOSE = {"auc": 1e-3, "auc_pr": 1e-3}
ALL = ("auc", "auc_pr", "log_loss", "calibration", "ece")


def exact(name: str, labels: np.ndarray, scores: np.ndarray) -> float:
    """By scikit-learn, or by numpy from the definition."""
    if name == "auc":
        return float(sk.roc_auc_score(labels, scores))
    if name == "auc_pr":
        return float(sk.average_precision_score(labels, scores))
    if name == "log_loss":
        return float(sk.log_loss(labels, scores, labels=[0, 1]))
    if name == "calibration":
        return float(scores.mean() / labels.mean())
    happened, predicted = calibration_curve(labels, scores, n_bins=20, strategy="quantile")
    edges = np.quantile(scores, np.linspace(0, 1, 21))
    sizes = np.bincount(np.searchsorted(edges[1:-1], scores), minlength=20)
    return float(np.dot(sizes[sizes > 0], np.abs(happened - predicted)) / len(labels))


def measured(name: str, labels: np.ndarray, scores: np.ndarray) -> float:
    return float(metric_value(metric_name(name), ScoreCounts.count(labels, scores)))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_metric_is_exact(distribution: str, name: str) -> None:
    labels, scores = drawn(distribution)
    found = measured(name, labels, scores)
    assert found == pytest.approx(exact(name, labels, scores), rel=1e-9, abs=1e-12)


ROWS = st.lists(
    st.tuples(st.booleans(), st.floats(0, 1) | st.sampled_from([0.0, 1e-9, 0.25, 0.5, 1.0])),
    min_size=2,
    max_size=60,
).filter(lambda rows: len({label for label, _ in rows}) == 2)


@settings(max_examples=200)
@given(ROWS)
def test_every_metric_is_that_of_scikit_learn(rows: list[tuple[bool, float]]) -> None:
    labels = np.array([label for label, _ in rows], int)
    scores = np.array([score for _, score in rows])
    for name in ("auc", "auc_pr", "log_loss", "calibration"):
        assert measured(name, labels, scores) == pytest.approx(exact(name, labels, scores))
    for least in (0.25, 0.5):
        chosen = scores >= least
        if chosen.any():
            found = measured(f"precision_above_{least}", labels, scores)
            assert found == pytest.approx(sk.precision_score(labels, chosen, zero_division=0))
        found = measured(f"recall_above_{least}", labels, scores)
        assert found == pytest.approx(sk.recall_score(labels, chosen))
        found = measured(f"accuracy_above_{least}", labels, scores)
        assert found == pytest.approx(sk.accuracy_score(labels, chosen))


@settings(max_examples=100)
@given(ROWS, st.data())
def test_weights_count_an_example_several_times(
    rows: list[tuple[bool, float]], data: st.DataObject
) -> None:
    labels = np.array([label for label, _ in rows], int)
    scores = np.array([score for _, score in rows])
    weights = np.array(
        data.draw(st.lists(st.integers(1, 4), min_size=len(rows), max_size=len(rows)))
    )
    once = ScoreCounts.count(labels, scores, weights)
    repeated = ScoreCounts.count(np.repeat(labels, weights), np.repeat(scores, weights))
    for name in ("auc", "auc_pr", "log_loss", "calibration", "precision_at_2", "recall_at_0.3"):
        wanted = metric_name(name)
        assert metric_value(wanted, once) == pytest.approx(metric_value(wanted, repeated))
    nothing = ScoreCounts.count(labels, scores, np.zeros(len(rows)))
    assert (nothing.examples, nothing.positives) == (0, 0)


@settings(max_examples=100)
@given(ROWS, st.integers(1, 5))
def test_parts_counted_apart_are_the_whole(rows: list[tuple[bool, float]], parts: int) -> None:
    labels = np.array([label for label, _ in rows], int)
    scores = np.array([score for _, score in rows])
    whole = ScoreCounts.count(labels, scores)
    merged = ScoreCounts.merge(
        ScoreCounts.count(labels[part::parts], scores[part::parts]) for part in range(parts)
    )
    assert (merged.examples, merged.positives) == (whole.examples, whole.positives)
    np.testing.assert_array_equal(merged.score, whole.score)
    np.testing.assert_allclose(merged.positive, whole.positive)
    np.testing.assert_allclose(merged.negative, whole.negative)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_more_examples_than_are_kept_cost_no_accuracy(
    distribution: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scores_module, "EXACT", 48_000)
    labels, scores = drawn(distribution)
    counts = ScoreCounts.count(labels[:100], scores[:100])
    for start in range(100, len(labels), 3_000):
        part = slice(start, start + 3_000)
        counts = ScoreCounts.merge([counts, ScoreCounts.count(labels[part], scores[part])])
    assert len(counts.score) <= 48_000
    for name in ALL:
        found = float(metric_value(metric_name(name), counts))
        assert found == pytest.approx(exact(name, labels, scores), abs=1e-3, rel=1e-3), name


@settings(max_examples=100)
@given(ROWS, st.integers(1, 9), st.data())
def test_calibration_of_the_highest_scores_is_that_of_the_definition(
    rows: list[tuple[bool, float]], tenths: int, data: st.DataObject
) -> None:
    """Without ties the rows are counted; of ties, each row counts in part."""
    labels = np.array([label for label, _ in rows], int)
    scores = np.array([score for _, score in rows])
    weights = np.array(
        data.draw(st.lists(st.integers(1, 4), min_size=len(rows), max_size=len(rows)))
    )
    share, found = tenths / 10, metric_name({"calibration_at": tenths / 10})
    left, predicted, happened = share * weights.sum(), 0.0, 0.0
    for score in np.unique(scores)[::-1]:
        tied = scores == score
        part = min(max(left / weights[tied].sum(), 0), 1)
        predicted += part * score * weights[tied].sum()
        happened += part * (labels * weights)[tied].sum()
        left -= weights[tied].sum()
    wanted = predicted / happened if happened else math.nan
    value = float(metric_value(found, ScoreCounts.count(labels, scores, weights)))
    assert value == pytest.approx(wanted, nan_ok=True)


def test_precision_and_recall_of_the_highest_scores() -> None:
    labels = np.array([0, 1, 0, 1, 1, 0])
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.4, 0.9])
    found = {
        name: measured(name, labels, scores)
        for name in ("precision_at_1", "precision_at_3", "recall_at_3", "precision_at_2",
                     "recall_at_0.5", "recall_at_6",)
    }  # fmt: skip
    assert found == pytest.approx(
        {
            "precision_at_1": 0,
            "precision_at_3": 2 / 3,
            "recall_at_3": 2 / 3,
            "precision_at_2": 1 / 2,  # one of the two equal scores, which both are positive
            "recall_at_0.5": 2 / 3,
            "recall_at_6": 1,
        }
    )
    assert math.isnan(measured("recall_at_7", labels, scores))  # all of them are no choice
    assert math.isnan(measured("precision_at_7", labels, scores))


@pytest.mark.parametrize("label", [0, 1])
def test_what_has_no_meaning_is_not_a_number(label: int) -> None:
    counts = ScoreCounts.count(np.full(20, label), np.linspace(0, 1, 20))
    assert math.isnan(metric_value(metric_name("auc"), counts))
    empty = ScoreCounts.count(np.array([]), np.array([]))
    for name in (*ALL, "precision_at_5", "recall_at_5", "precision", "recall", "accuracy"):
        assert math.isnan(metric_value(metric_name(name), empty))
    assert math.isnan(measured("precision_above_0.9", np.array([0, 1]), np.array([0.1, 0.2])))


@pytest.mark.parametrize(
    ("labels", "scores", "weights", "said"),
    [
        ([0, 1], [0.5, math.nan], None, "scores must be finite numbers. Received: 1 of 2"),
        ([0, 1], [0.5, math.inf], None, "scores must be finite numbers. Received: 1 of 2"),
        (
            [0, 1],
            [0.5, -2.2],
            None,
            "a score must be a probability between 0 and 1. Received: -2.2",
        ),
        ([0, 2], [0.5, 0.5], None, "a label must be 0 or 1. Received: 2"),
        ([0, 0.5], [0.5, 0.5], None, "a label must be 0 or 1. Received: 0.5"),
        ([0, math.nan], [0.5, 0.5], None, "a label must be 0 or 1. Received: nan"),
        ([0, 1], [0.5, 0.5], [1, -1], "a weight must be 0 or more. Received: -1"),
        ([0, 1], [0.5, 0.5], [1, math.nan], "a weight must be 0 or more. Received: nan"),
    ],
)
def test_what_cannot_be_counted_is_an_error(labels, scores, weights, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ScoreCounts.count(np.array(labels), np.array(scores), weights and np.array(weights))


NAMES = (*ALL, "precision_at_200", "recall_at_200", "recall_above_0.05", "accuracy")


@pytest.mark.parametrize("name", NAMES)
def test_an_interval_of_95_percent_holds_the_true_value_as_often(name: str) -> None:
    """Of a model that is off by a factor, so that every metric is away from its limit."""
    chance = np.random.default_rng(5)

    def sample(rows: int) -> ScoreCounts:
        true = 1 / (1 + np.exp(-chance.normal(-3, 1.5, rows)))
        score = np.clip(1.3 * true, 0, 0.99)
        return ScoreCounts.count((chance.random(rows) < true).astype(int), score)

    wanted, rows = metric_name(name), 4_000
    whole = metric_name({wanted.kind: 200 / rows}) if name.endswith("at_200") else wanted
    truth = metric_value(whole, sample(1_000_000))
    inside = 0
    for seed in range(120):
        counts = sample(rows)
        low, high = interval(wanted, float(metric_value(wanted, counts)), resampled(counts, seed))
        inside += int(low <= truth <= high)
    # ECE is larger on few examples than on many: its interval is around what was measured.
    assert inside / 120 > (0.5 if name == "ece" else 0.88)
    assert inside / 120 <= 0.995 or name == "ece"


def test_too_few_positives_have_no_interval() -> None:
    counts = ScoreCounts.count(np.arange(1_000) < 9, np.linspace(0, 1, 1_000))
    assert resampled(counts) is None
    assert np.isnan(interval(metric_name("auc"), 0.5, None)).all()


def test_a_perfect_ranking_has_no_interval_instead_of_one_without_width() -> None:
    counts = ScoreCounts.count(np.arange(1_000) >= 500, np.linspace(0, 1, 1_000))
    assert np.isnan(interval(metric_name("auc"), 1.0, resampled(counts))).all()
