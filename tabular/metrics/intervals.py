"""Computes 95 % intervals of a classifier's metrics, by a bootstrap that takes milliseconds."""

from __future__ import annotations

import math

import numpy as np

from tabular.decision_rule import Costs
from tabular.metrics import classification
from tabular.metrics.metric_names import MetricName
from tabular.metrics.scores import ScoreCounts

# Positives and negatives that an interval needs; fewer say too little about the variance.
MIN_EXAMPLES = 10
_REPLICATES = 200
_GROUPS = 500
_LEVEL = 0.95


def resampled(counts: ScoreCounts, seed: int = 0) -> ScoreCounts | None:
    """Returns bootstrap replicates; None with too few positives or negatives.

    Scores are first joined to 500 groups. Finer differences do not change the variance of a metric,
    and 200 replicates then take milliseconds, whatever the size of the data. Examples are assumed
    to be independent, so intervals are too narrow if the examples of one user are alike.
    """
    if min(counts.positives, counts.negatives) < MIN_EXAMPLES:
        return None
    return counts.joined(_GROUPS).resampled(_REPLICATES, seed)


def interval(
    name: MetricName, value: float, replicates: ScoreCounts | None, costs: Costs | None = None
) -> tuple[float, float]:
    """Returns the bounds of a metric's 95 % interval; NaN if they are unknown.

    The interval is the value plus the replicates' deviations from their mean, because some metrics,
    such as ECE, are larger on resampled data, and the replicates' groups are coarser.

    Args:
      name: Metric.
      value: Value of the metric on the data.
      replicates: Result of resampled().
      costs: Costs of a decision, which decision_cost needs.
    """
    if replicates is None or not math.isfinite(value):
        return math.nan, math.nan
    found = classification.metric_value(name, replicates, costs)
    found = found[np.isfinite(found)]
    if len(found) < _REPLICATES / 2 or np.ptp(found) == 0:
        return math.nan, math.nan  # a metric at its limit, such as an AUC of 1, does not vary
    low, high = np.quantile(found - found.mean(), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return max(value + low, 0.0), min(value + high, classification.largest_value(name))
