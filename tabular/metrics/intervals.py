"""Intervals of 95 % for a classifier's metrics, by a bootstrap that costs milliseconds."""

from __future__ import annotations

import math

import numpy as np

from tabular.metrics import classification
from tabular.metrics.metric_names import MetricName
from tabular.metrics.scores import ScoreCounts

# Of positives and of negatives; fewer say too little of how much they could differ.
FEWEST = 10
_REPLICATES = 200
_GROUPS = 500
_LEVEL = 0.95


def resampled(counts: ScoreCounts, seed: int = 0) -> ScoreCounts | None:
    """Data sets that might have been seen as well; None with too few positives or negatives.

    Like scores are put together first, to 500 groups: how much a metric varies does not depend on
    finer differences, and 200 replicates then take milliseconds, however large the data is.
    Examples are taken for independent: where those of one user are alike, intervals are too narrow.
    """
    if min(counts.positives, counts.negatives) < FEWEST:
        return None
    return counts.joined(_GROUPS).resampled(_REPLICATES, seed)


def interval(name: MetricName, value: float, replicates: ScoreCounts | None) -> tuple[float, float]:
    """The bounds of a metric's 95 % interval, NaN where they are not known.

    The replicates' deviations from their mean are put around the value: some metrics, such as ECE,
    are larger on resampled data, and the groups are coarser than the value's own.

    Args:
      name: The metric.
      value: What it is on the data.
      replicates: From resampled().
    """
    if replicates is None or not math.isfinite(value):
        return math.nan, math.nan
    found = classification.value(name, replicates)
    found = found[np.isfinite(found)]
    if len(found) < _REPLICATES / 2 or np.ptp(found) == 0:
        return math.nan, math.nan  # a metric at its limit, such as an AUC of 1, does not vary
    low, high = np.quantile(found - found.mean(), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return max(value + low, 0.0), min(value + high, classification.most(name))
