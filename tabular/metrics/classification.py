"""Metrics of a binary classifier, exact over its scores; tested against scikit-learn's.

Each takes ScoreCounts and returns an array of the counts' leading axes: a number, or one for each
resampled data set. What has no meaning (AUC of one class) is NaN. They are not scikit-learn's own
functions since those take one data set at a time: 200 resampled ones would cost minutes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from tabular.metrics.metric_names import MetricName
from tabular.metrics.scores import ScoreCounts

ECE_GROUPS = 20
# scikit-learn's log_loss keeps probabilities so far away from 0 and 1.
_EPSILON = np.finfo(np.float64).eps


def auc(counts: ScoreCounts) -> np.ndarray:
    """Area under the ROC curve: how often a positive is above a negative, ties by half."""
    below = np.cumsum(counts.negative, axis=-1) - counts.negative / 2
    pairs = _total(counts.positive) * _total(counts.negative)
    return _ratio(_total(counts.positive * below), pairs)


def auc_pr(counts: ScoreCounts) -> np.ndarray:
    """Area under the precision-recall curve, by steps: scikit-learn's average_precision_score."""
    positive = np.cumsum(counts.positive[..., ::-1], axis=-1)
    everything = positive + np.cumsum(counts.negative[..., ::-1], axis=-1)
    precision = _ratio(positive, everything)
    found = np.nansum(precision * counts.positive[..., ::-1], axis=-1)
    return _ratio(found, _total(counts.positive))


def log_loss(counts: ScoreCounts) -> np.ndarray:
    """Mean negative log likelihood, in nats."""
    score = np.clip(counts.score, _EPSILON, 1 - _EPSILON)
    loss = counts.positive @ -np.log(score) + counts.negative @ -np.log1p(-score)
    return _ratio(loss, _total(counts.positive) + _total(counts.negative))


def calibration(counts: ScoreCounts) -> np.ndarray:
    """Mean score over the share of positives: above 1, more events are predicted than happen."""
    predicted = (counts.positive + counts.negative) @ counts.score
    return _ratio(predicted, _total(counts.positive))


def ece(counts: ScoreCounts) -> np.ndarray:
    """Expected calibration error over 20 groups with equally many examples.

    Nixon et al., "Measuring Calibration in Deep Learning" (2019). Groups are those of
    scikit-learn's calibration_curve(strategy="quantile", n_bins=20): equal scores stay together.
    """
    weight = counts.positive + counts.negative
    total = _total(weight)
    # A quantile lies between the examples number floor and ceil of (examples - 1) * k / 20.
    last = total * (1 - 1 / max(counts.examples, 1))
    before = np.cumsum(weight, axis=-1) - weight
    with np.errstate(invalid="ignore", divide="ignore"):
        group = np.ceil(before * ECE_GROUPS / last[..., np.newaxis] - 1e-9) - 1
    group = np.clip(np.nan_to_num(group), 0, ECE_GROUPS - 1)
    difference = weight * counts.score - counts.positive
    sums = [np.where(group == k, difference, 0).sum(axis=-1) for k in range(ECE_GROUPS)]
    return _ratio(np.abs(sums).sum(axis=0), total)


def precision_at(counts: ScoreCounts, number: float) -> np.ndarray:
    """Share of positives among the `number` examples with the highest scores."""
    taken, hits = _highest(counts, number)
    return _ratio(hits, taken)


def recall_at(counts: ScoreCounts, number: float) -> np.ndarray:
    """Share of all positives that is among the `number` examples with the highest scores."""
    return _ratio(_highest(counts, number)[1], _total(counts.positive))


def _highest(counts: ScoreCounts, number: float) -> tuple[np.ndarray, np.ndarray]:
    """Weight of the highest scores, and of the positives among them; a tie counts by its mean.

    Both are NaN where there is less than that: the best of 100 examples among 50 are just all.

    Args:
      counts: All examples.
      number: Weight to take; below 1: the share of it.
    """
    weight = (counts.positive + counts.negative)[..., ::-1]
    total = _total(weight)
    wanted = np.asarray(number if number >= 1 else number * total)
    wanted = np.where(wanted <= total, wanted, math.nan)[..., np.newaxis]
    above = np.cumsum(weight, axis=-1) - weight
    part = np.clip(wanted - above, 0, weight)
    hits = _total(_ratio(part, weight, 0.0) * counts.positive[..., ::-1])
    return wanted[..., 0], np.where(np.isnan(wanted[..., 0]), math.nan, hits)


def precision(counts: ScoreCounts, least: float) -> np.ndarray:
    """Share of positives among the examples with a score of `least` or more."""
    chosen = counts.score >= least
    hits = _total(counts.positive[..., chosen])
    return _ratio(hits, hits + _total(counts.negative[..., chosen]))


def recall(counts: ScoreCounts, least: float) -> np.ndarray:
    """Share of all positives that has a score of `least` or more."""
    chosen = counts.score >= least
    return _ratio(_total(counts.positive[..., chosen]), _total(counts.positive))


def accuracy(counts: ScoreCounts, least: float) -> np.ndarray:
    """Share of the examples that are positive and have a score of `least` or more, or neither."""
    chosen = counts.score >= least
    right = _total(counts.positive[..., chosen]) + _total(counts.negative[..., ~chosen])
    return _ratio(right, _total(counts.positive) + _total(counts.negative))


_PLAIN: Mapping[str, Callable[[ScoreCounts], np.ndarray]] = {
    "auc": auc,
    "auc_pr": auc_pr,
    "log_loss": log_loss,
    "calibration": calibration,
    "ece": ece,
}
_WITH_NUMBER: Mapping[str, Callable[[ScoreCounts, float], np.ndarray]] = {
    "precision_at": precision_at,
    "recall_at": recall_at,
    "precision": precision,
    "recall": recall,
    "accuracy": accuracy,
}
# The largest value each metric can have; the least is 0.
_MOST = {"log_loss": math.inf, "calibration": math.inf}


def value(name: MetricName, counts: ScoreCounts) -> np.ndarray:
    """The metric of that name."""
    if name.number is None:
        return _PLAIN[name.kind](counts)
    return _WITH_NUMBER[name.kind](counts, name.number)


def most(name: MetricName) -> float:
    """The largest value the metric can have; the smallest is 0."""
    return _MOST.get(name.kind, 1.0)


def _total(values: np.ndarray) -> np.ndarray:
    return np.asarray(values.sum(axis=-1))


def _ratio(over: np.ndarray, under: np.ndarray, otherwise: float = math.nan) -> np.ndarray:
    over, under = np.broadcast_arrays(np.asarray(over, float), np.asarray(under, float))
    return np.divide(over, under, out=np.full(over.shape, otherwise), where=under != 0)
