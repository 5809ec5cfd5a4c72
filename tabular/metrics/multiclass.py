"""Exact metrics of a model of several classes, tested against scikit-learn's.

A class is ranked one-vs-rest: its own examples against all others, by its probability.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabular.metrics import classification
from tabular.metrics.blocks import BLOCKS, MIN_EXAMPLES, blocks_of, jackknife
from tabular.metrics.intervals import interval, resampled
from tabular.metrics.metric_names import MetricName
from tabular.metrics.scores import EXACT, ScoreCounts, check_weights

_AUC = MetricName("auc")
_SUM_TOLERANCE = 1e-3  # of an example's probabilities; 32 bits and many classes lose some digits
_SMALLEST = float(np.finfo(np.float64).eps)  # as scikit-learn's log_loss clips


@dataclasses.dataclass(frozen=True)
class ClassCounts:
    """Sums over examples of n classes, from which all metrics follow.

    Attributes:
      of_class: Counts of each class against all others, by the probability of the class.
      sums: Weighted sum of the log losses, then the weight of the examples whose label is on rank
        1, 2, ..., n by probability, in blocks of examples, [blocks, 1 + n]. Of equal probabilities
        the first class ranks higher, as in argmax.
    """

    of_class: tuple[ScoreCounts, ...]
    sums: NDArray[np.float64]

    @classmethod
    def count(
        cls,
        labels: NDArray[Any],
        probabilities: NDArray[Any],
        weights: NDArray[np.float64] | None = None,
    ) -> ClassCounts:
        """Counts examples.

        Args:
          labels: Index of each example's class, [rows].
          probabilities: Probabilities of the classes, [rows, n].
          weights: Weights, [rows]; None if each example counts 1.

        Raises:
          ValueError: A label is no class, probabilities are not finite, not between 0 and 1 or do
            not add up to 1, or a weight is negative.
        """
        weights = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
        probabilities = np.asarray(probabilities, np.float64)
        rows, classes = probabilities.shape
        _check(labels, probabilities)
        check_weights(weights)
        probabilities = np.minimum(probabilities, 1)  # 32 bits may add up to a little more
        known = np.asarray(labels).astype(np.int64)
        own = probabilities[np.arange(rows), known]
        is_earlier = np.arange(classes) < known[:, np.newaxis]
        above = (probabilities > own[:, np.newaxis]) | (
            (probabilities == own[:, np.newaxis]) & is_earlier
        )
        loss = -np.log(np.clip(own, _SMALLEST, 1))
        block, width = blocks_of(probabilities), 1 + classes
        rank = block * width + 1 + above.sum(axis=1)
        sums: NDArray[Any] = np.bincount(rank, weights, BLOCKS * width).reshape(BLOCKS, width)
        sums[:, 0] = np.bincount(block, weights * loss, BLOCKS)
        counts = [
            ScoreCounts.count(known == one, probabilities[:, one], weights)
            for one in range(classes)
        ]
        return cls(tuple(counts), sums)

    @classmethod
    def merge(cls, parts: Iterable[ClassCounts]) -> ClassCounts:
        """Adds up counts. All classes together keep as many different scores as one event does."""
        parts = [*parts]
        by_class = [*zip(*(part.of_class for part in parts), strict=True)]
        exact = EXACT // max(len(by_class), 1)
        merged = tuple(ScoreCounts.merge(counts, exact) for counts in by_class)
        return cls(merged, np.sum([part.sums for part in parts], axis=0))

    @property
    def examples(self) -> int:
        """The number of examples with a weight above 0."""
        return self.of_class[0].examples

    @property
    def rarest(self) -> int:
        """The number of examples, with a weight above 0, of the class that has the fewest."""
        return min(counts.positives for counts in self.of_class)

    def value(self, name: MetricName, classes: Sequence[str] = ()) -> float:
        """Returns a metric; NaN if it is undefined.

        Args:
          name: Metric.
          classes: Names of the classes, for the AUC of one.
        """
        if name.kind == "auc_of":
            return self._auc_of(classes.index(str(name.of)))
        if name.kind == "macro_auc":
            return float(np.mean([self._auc_of(one) for one in range(len(self.of_class))]))
        return _mean(name, self.sums.sum(axis=0))

    def interval(self, name: MetricName, classes: Sequence[str] = ()) -> tuple[float, float]:
        """Returns the bounds of a metric's 95 % interval; NaN if they are unknown.

        That of macro_auc is the mean of the classes' intervals, as if these moved together. If they
        do not, it is wider than it had to be.
        """
        if name.kind == "auc_of":
            return self._interval_of(classes.index(str(name.of)))
        if name.kind == "macro_auc":
            found = [self._interval_of(one) for one in range(len(self.of_class))]
            low, high = np.mean(found, axis=0)
            return float(low), float(high)
        if self.examples < MIN_EXAMPLES:
            return math.nan, math.nan
        others = self.sums.sum(axis=0) - self.sums
        without = [_mean(name, some) for some in others]
        most = math.inf if name.kind == "log_loss" else 1.0
        return jackknife(self.value(name), without, 0.0, most)

    def _auc_of(self, one: int) -> float:
        return float(classification.auc(self.of_class[one]))

    def _interval_of(self, one: int) -> tuple[float, float]:
        counts = self.of_class[one]
        return interval(_AUC, self._auc_of(one), resampled(counts, seed=one))


def _mean(name: MetricName, sums: NDArray[np.float64]) -> float:
    """Returns log_loss, accuracy or top_k_accuracy of sums, [1 + n]."""
    weight = float(sums[1:].sum())
    if not weight:
        return math.nan
    if name.kind == "log_loss":
        return float(sums[0]) / weight
    ranks = 1 if name.kind == "accuracy" else int(name.number or 1)
    return float(sums[1 : 1 + ranks].sum()) / weight


def _check(labels: NDArray[Any], probabilities: NDArray[np.float64]) -> None:
    classes = probabilities.shape[1]
    wrong = ~np.isin(labels, np.arange(classes))
    if wrong.any():
        raise ValueError(
            f"a label must be a whole number from 0 to {classes - 1}, the index of a class. "
            f"Received: {labels[wrong][0]}"
        )
    if not np.isfinite(probabilities).all():
        number = int((~np.isfinite(probabilities)).any(axis=1).sum())
        raise ValueError(
            f"scores must be finite numbers. Received: {number:,} of {len(labels):,} examples with "
            "others. Look for feature values that the model cannot handle"
        )
    total = probabilities.sum(axis=1)
    wrong = (np.abs(total - 1) > _SUM_TOLERANCE) | (probabilities < 0).any(axis=1)
    if wrong.any():
        raise ValueError(
            "the scores of an example must be probabilities that add up to 1. Received: "
            f"{probabilities[wrong][0].tolist()}. Check that evaluator.prediction does not name "
            "log-odds"
        )
