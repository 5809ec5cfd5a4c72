"""Exact metrics of a binary classifier, tested against scikit-learn's.

Each function takes ScoreCounts and returns an array of the counts' leading axes: one number, or one
for each resampled data set. A metric that is undefined, such as AUC of one class, is NaN.
scikit-learn's own functions take one data set at a time, so 200 resampled ones would take minutes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from tabular.decision_rule import Costs
from tabular.metrics.metric_names import DECISION_COST, MetricName
from tabular.metrics.scores import ScoreCounts

ECE_GROUPS = 20
# The distance from 0 and 1 that scikit-learn's log_loss clips probabilities to.
_EPSILON = np.finfo(np.float64).eps
_REVIEWED = 0.5  # between the decisions 0 and 1


def auc(counts: ScoreCounts) -> NDArray[np.float64]:
    """Returns the area under the ROC curve: the share of pairs that are ranked right, ties half."""
    below = np.cumsum(counts.negative, axis=-1) - counts.negative / 2
    pairs = _total(counts.positive) * _total(counts.negative)
    return _ratio(_total(counts.positive * below), pairs)


def auc_pr(counts: ScoreCounts) -> NDArray[np.float64]:
    """Returns the area under the precision-recall curve, like average_precision_score."""
    positive = np.cumsum(counts.positive[..., ::-1], axis=-1)
    everything = positive + np.cumsum(counts.negative[..., ::-1], axis=-1)
    precision = _ratio(positive, everything)
    found = np.nansum(precision * counts.positive[..., ::-1], axis=-1)
    return _ratio(found, _total(counts.positive))


def log_loss(counts: ScoreCounts) -> NDArray[np.float64]:
    """Returns the mean negative log likelihood, in nats."""
    score = np.clip(counts.score, _EPSILON, 1 - _EPSILON)
    loss = counts.positive @ -np.log(score) + counts.negative @ -np.log1p(-score)
    return _ratio(loss, _total(counts.positive) + _total(counts.negative))


def calibration(counts: ScoreCounts) -> NDArray[np.float64]:
    """Returns the mean score divided by the share of positives; above 1 is an overestimate."""
    predicted = (counts.positive + counts.negative) @ counts.score
    return _ratio(predicted, _total(counts.positive))


def ece(counts: ScoreCounts) -> NDArray[np.float64]:
    """Returns the expected calibration error over 20 groups with equally many examples.

    Nixon et al., "Measuring Calibration in Deep Learning" (2019). The groups match scikit-learn's
    calibration_curve(strategy="quantile", n_bins=20), where equal scores stay together.
    """
    weight = counts.positive + counts.negative
    total = _total(weight)
    # A quantile lies between the examples at floor and ceil of (examples - 1) * k / 20.
    last = total * (1 - 1 / max(counts.examples, 1))
    before = np.cumsum(weight, axis=-1) - weight
    with np.errstate(invalid="ignore", divide="ignore"):
        group = np.ceil(before * ECE_GROUPS / last[..., np.newaxis] - 1e-9) - 1
    group = np.clip(np.nan_to_num(group), 0, ECE_GROUPS - 1)
    difference = weight * counts.score - counts.positive
    sums = [np.where(group == k, difference, 0).sum(axis=-1) for k in range(ECE_GROUPS)]
    return _ratio(np.abs(sums).sum(axis=0), total)


def calibration_at(counts: ScoreCounts, number: float) -> NDArray[np.float64]:
    """Returns the calibration of the `number` examples with the highest scores.

    That is their mean score divided by their share of positives.
    """
    weight = counts.positive + counts.negative
    taken = _taken(weight, number)
    return _ratio(_total(taken * weight * counts.score), _total(taken * counts.positive))


def precision_at(counts: ScoreCounts, number: float) -> NDArray[np.float64]:
    """Returns the share of positives among the `number` examples with the highest scores."""
    taken, hits = _highest(counts, number)
    return _ratio(hits, taken)


def recall_at(counts: ScoreCounts, number: float) -> NDArray[np.float64]:
    """Returns the share of all positives among the `number` examples with the highest scores."""
    return _ratio(_highest(counts, number)[1], _total(counts.positive))


def _highest(counts: ScoreCounts, number: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the weight of the highest scores and of the positives among them, ties by their mean.

    Both are NaN if there are fewer examples than `number`. The arguments are those of `_taken`.
    """
    weight = counts.positive + counts.negative
    taken = _taken(weight, number)
    return _total(taken * weight), _total(taken * counts.positive)


def _taken(weight: NDArray[np.float64], number: float) -> NDArray[np.float64]:
    """Returns the share of each score's examples that are among the highest, [..., n].

    It is NaN if there are fewer examples than `number`.

    Args:
      weight: Total weight of the examples with each score, by rising score.
      number: Weight to take, or a share of all weight if it is below 1.
    """
    total = _total(weight)
    wanted = np.asarray(number if number >= 1 else number * total)
    wanted = np.where(wanted <= total, wanted, math.nan)[..., np.newaxis]
    falling = weight[..., ::-1]
    above = np.cumsum(falling, axis=-1) - falling
    part = np.clip(wanted - above, 0, falling)
    return np.where(np.isnan(wanted), math.nan, _ratio(part, falling, 0.0))[..., ::-1]


def precision(counts: ScoreCounts, least: float) -> NDArray[np.float64]:
    """Returns the share of positives among the examples with a score of `least` or more."""
    chosen = counts.score >= least
    hits = _total(counts.positive[..., chosen])
    return _ratio(hits, hits + _total(counts.negative[..., chosen]))


def recall(counts: ScoreCounts, least: float) -> NDArray[np.float64]:
    """Returns the share of all positives with a score of `least` or more."""
    chosen = counts.score >= least
    return _ratio(_total(counts.positive[..., chosen]), _total(counts.positive))


def accuracy(counts: ScoreCounts, least: float) -> NDArray[np.float64]:
    """Returns the share of examples that are positive if and only if score >= `least`."""
    chosen = counts.score >= least
    right = _total(counts.positive[..., chosen]) + _total(counts.negative[..., ~chosen])
    return _ratio(right, _total(counts.positive) + _total(counts.negative))


def decision_precision(counts: ScoreCounts) -> NDArray[np.float64]:
    """Returns the share of positives among the reviewed examples, whose score is 1."""
    return precision(counts, _REVIEWED)


def decision_recall(counts: ScoreCounts) -> NDArray[np.float64]:
    """Returns the share of all positives that are reviewed."""
    return recall(counts, _REVIEWED)


def decision_share(counts: ScoreCounts) -> NDArray[np.float64]:
    """Returns the share of the examples that are reviewed."""
    weight = counts.positive + counts.negative
    return _ratio(_total(weight[..., counts.score >= _REVIEWED]), _total(weight))


def decision_cost(counts: ScoreCounts, costs: Costs) -> NDArray[np.float64]:
    """Returns the mean cost of an example: of its review, or of a positive that has none."""
    chosen, weight = counts.score >= _REVIEWED, counts.positive + counts.negative
    missed = _total(counts.positive[..., ~chosen])
    total = costs.review * _total(weight[..., chosen]) + costs.missed * missed
    return _ratio(total, _total(weight))


_PLAIN: Mapping[str, Callable[[ScoreCounts], NDArray[np.float64]]] = {
    "auc": auc,
    "auc_pr": auc_pr,
    "log_loss": log_loss,
    "calibration": calibration,
    "ece": ece,
    "decision_precision": decision_precision,
    "decision_recall": decision_recall,
    "decision_share": decision_share,
}
_WITH_NUMBER: Mapping[str, Callable[[ScoreCounts, float], NDArray[np.float64]]] = {
    "calibration_at": calibration_at,
    "precision_at": precision_at,
    "recall_at": recall_at,
    "precision": precision,
    "recall": recall,
    "accuracy": accuracy,
}

_LARGEST = dict.fromkeys(("log_loss", "calibration", "calibration_at", DECISION_COST), math.inf)


def metric_value(
    name: MetricName, counts: ScoreCounts, costs: Costs | None = None
) -> NDArray[np.float64]:
    """Returns the value of the metric with this name.

    Args:
      name: Metric.
      counts: Counts by score; for a metric of a decision, by the decision, which is 0 or 1.
      costs: Costs of a decision, which decision_cost needs.
    """
    if name.kind == DECISION_COST:
        if costs is None:
            raise ValueError(f"{DECISION_COST} needs the costs of a decision. Received: None")
        return decision_cost(counts, costs)
    if name.number is None:
        return _PLAIN[name.kind](counts)
    return _WITH_NUMBER[name.kind](counts, name.number)


def largest_value(name: MetricName) -> float:
    """Returns the largest possible value of the metric. The smallest is 0."""
    return _LARGEST.get(name.kind, 1.0)


def _total(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(values.sum(axis=-1))


def _ratio(
    over: NDArray[np.float64], under: NDArray[np.float64], otherwise: float = math.nan
) -> NDArray[np.float64]:
    over, under = np.broadcast_arrays(np.asarray(over, float), np.asarray(under, float))
    return np.divide(over, under, out=np.full(over.shape, otherwise), where=under != 0)
