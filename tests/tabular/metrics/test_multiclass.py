"""Metrics of several classes against scikit-learn's, and their intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn import metrics as sk

from tabular.metrics.metric_names import metric_name
from tabular.metrics.multiclass import ClassCounts

pytestmark = pytest.mark.unit

CLASSES = ("arts", "news", "sport")
NAMES = ("log_loss", "accuracy", "top_k_accuracy_2", "macro_auc", "auc_of_news")


def sample(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities and weights; the model is too sure, and a class is rare."""
    chance = np.random.default_rng(seed)
    scores = chance.normal([1, -1, 0], size=(rows, 3))
    true = softmax(scores, axis=1)
    labels = (true.cumsum(axis=1) < chance.random((rows, 1))).sum(axis=1)
    return labels, softmax(2 * scores, axis=1), chance.integers(0, 4, rows).astype(float)


def value(name: str, counts: ClassCounts) -> float:
    return counts.value(metric_name(name), CLASSES)


@pytest.mark.parametrize("parts", [1, 3])
def test_every_metric_is_that_of_scikit_learn(parts: int) -> None:
    labels, probabilities, weights = sample(3000)
    counted = [
        ClassCounts.count(labels[n::parts], probabilities[n::parts], weights[n::parts])
        for n in range(parts)
    ]
    counts = ClassCounts.merge(counted)
    news = (labels == 1, probabilities[:, 1])
    one_vs_rest = [
        sk.roc_auc_score(labels == one, probabilities[:, one], sample_weight=weights)
        for one in range(3)
    ]
    expected = {
        "log_loss": sk.log_loss(labels, probabilities, sample_weight=weights),
        "accuracy": sk.accuracy_score(labels, probabilities.argmax(axis=1), sample_weight=weights),
        "top_k_accuracy_2": sk.top_k_accuracy_score(
            labels, probabilities, k=2, sample_weight=weights
        ),
        "macro_auc": np.mean(one_vs_rest),
        "auc_of_news": sk.roc_auc_score(*news, sample_weight=weights),
    }
    assert {name: value(name, counts) for name in NAMES} == pytest.approx(expected, abs=1e-9)
    assert counts.examples == (weights > 0).sum()
    assert counts.rarest == ((labels == 1) & (weights > 0)).sum()


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.lists(st.integers(1, 3), min_size=3, max_size=3)),
        min_size=1,
    )
)
def test_of_equal_probabilities_the_first_ranks_higher(rows: list[tuple[int, list[int]]]) -> None:
    labels = np.array([label for label, _ in rows])
    numbers = np.array([scores for _, scores in rows], float)
    probabilities = numbers / numbers.sum(axis=1, keepdims=True)
    counts = ClassCounts.count(labels, probabilities)
    assert value("accuracy", counts) == pytest.approx((numbers.argmax(axis=1) == labels).mean())
    best = np.argsort(-numbers, axis=1, kind="stable")[:, :2]
    found = (best == labels[:, np.newaxis]).any(axis=1).mean()
    assert value("top_k_accuracy_2", counts) == pytest.approx(found)


def test_a_class_without_examples_leaves_no_macro_auc() -> None:
    labels, probabilities, _ = sample(200)
    counts = ClassCounts.count(labels[labels != 1], probabilities[labels != 1])
    assert math.isnan(value("macro_auc", counts))
    assert math.isnan(value("auc_of_news", counts))
    assert value("accuracy", counts) > 0.5
    assert counts.rarest == 0
    nothing = ClassCounts.count(np.empty(0), np.empty((0, 3)))
    assert all(math.isnan(value(name, nothing)) for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_most_intervals_contain_the_true_value(name: str) -> None:
    truth = value(name, ClassCounts.count(*sample(400_000, seed=99)[:2]))
    hits = []
    for seed in range(60):
        counts = ClassCounts.count(*sample(2_000, seed)[:2])
        low, high = counts.interval(metric_name(name), CLASSES)
        hits.append(low <= truth <= high)
    assert np.mean(hits) >= 0.85


def test_few_examples_have_no_interval() -> None:
    counts = ClassCounts.count(*sample(30)[:2])
    assert math.isnan(counts.interval(metric_name("accuracy"))[0])


@pytest.mark.parametrize(
    ("label", "scores", "said"),
    [
        (3, [0.5, 0.25, 0.25], "a label must be a whole number from 0 to 2"),
        (0.5, [0.5, 0.25, 0.25], "a label must be a whole number from 0 to 2"),
        (0, [2.0, -1.0, 0.0], "must be probabilities that add up to 1"),
        (0, [0.5, 0.5, 0.5], "must be probabilities that add up to 1"),
        (0, [math.nan, 0.5, 0.5], "scores must be finite numbers"),
    ],
)
def test_what_is_no_probability_or_label_is_an_error(
    label: float, scores: list[float], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        ClassCounts.count(np.array([label]), np.array([scores]))
