"""Metrics of predictions that arrive in batches, by the functions of the Evaluator."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabular.feature_set import TaskName
from tabular.metrics import classification
from tabular.metrics.intervals import interval, resampled
from tabular.metrics.metric_names import MetricName
from tabular.metrics.multiclass import ClassCounts
from tabular.metrics.regression import ErrorSums
from tabular.metrics.scores import ScoreCounts

_KINDS: Mapping[TaskName, Any] = {
    "binary": ScoreCounts,
    "multiclass": ClassCounts,
    "regression": ErrorSums,
}
_PARTS = 64  # counts per merge
Values = dict[str, float]
Intervals = dict[str, tuple[float, float]]
# Labels, predictions and weights of some rows.
Judged = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def judge(
    batches: Iterable[Judged], task: TaskName, names: Sequence[MetricName], classes: Sequence[str]
) -> tuple[Values, Intervals, int]:
    """Computes metrics.

    Args:
      batches: Labels [rows], predictions [rows], or [rows, classes] of several classes, and
        weights [rows].
      task: Task of the model.
      names: Metrics over examples.
      classes: Names of the classes of a multiclass model.

    Returns:
      Name -> value, without undefined ones; name -> 95 % interval, where it is known; the number
      of rows with a weight above 0.
    """
    kind = _KINDS[task]
    parts: list[Any] = []
    for batch in batches:
        parts.append(kind.count(*batch))
        if len(parts) == _PARTS:
            parts = [kind.merge(parts)]
    if not parts:
        return {}, {}, 0
    counts = kind.merge(parts)
    measured = _measured(counts, names, classes)
    found = {str(name): value for name, value in zip(names, measured, strict=True)}
    values = {name: value for name, (value, _) in found.items() if math.isfinite(value)}
    intervals = {
        name: bounds for name, (_, bounds) in found.items() if all(map(math.isfinite, bounds))
    }
    return values, intervals, counts.examples


def _measured(
    counts: Any, names: Sequence[MetricName], classes: Sequence[str]
) -> Iterable[tuple[float, tuple[float, float]]]:
    """Yields the value and the bounds of each metric; NaN if they are unknown."""
    if isinstance(counts, ScoreCounts):
        replicates = resampled(counts)
        for name in names:
            value = float(classification.metric_value(name, counts))
            yield value, interval(name, value, replicates)
        return
    more = (classes,) if isinstance(counts, ClassCounts) else ()
    for name in names:
        yield counts.value(name, *more), counts.interval(name, *more)
