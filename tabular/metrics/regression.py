"""Metrics of a regression, from sums over blocks of examples."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable

import numpy as np

from tabular.metrics.metric_names import MetricName
from tabular.metrics.scores import check_weights

_BLOCKS = 64
_LEVEL = 1.96  # of a normal distribution: 95 %


class ErrorSums:
    """Sums over labels and errors, in 64 blocks of examples that are as good as drawn at random.

    The sums of all blocks give the metrics, exactly. What a metric becomes without one block, for
    each of them, gives its interval: the delete-a-group jackknife (Kott, "The Delete-a-Group
    Jackknife" (2001)), in memory that does not grow with the data.
    """

    def __init__(self, sums: np.ndarray, examples: int):
        # [blocks, 5]: weight, mean label, summed squares of the labels' distances from that mean,
        # summed absolute and squared errors. Squares of the labels themselves would leave nothing
        # of large labels that hardly differ.
        self._sums, self.examples = sums, examples

    @classmethod
    def count(
        cls, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None
    ) -> ErrorSums:
        """Adds up examples, each array [rows].

        Raises:
          ValueError: A label or a prediction is not a finite number, or a weight is negative.
        """
        for name, values in (("labels", labels), ("predictions", predictions)):
            if not np.isfinite(values).all():
                wrong = int((~np.isfinite(values)).sum())
                raise ValueError(f"{wrong:,} of {len(values):,} {name} are not finite numbers")
        weights = np.ones(len(labels)) if weights is None else weights
        check_weights(weights)
        # Blocks get equally many examples, however few come at a time.
        first = zlib.crc32(np.ascontiguousarray(predictions).tobytes())
        block = (first + np.arange(len(labels))) % _BLOCKS

        def summed(terms: np.ndarray) -> np.ndarray:
            return np.bincount(block, terms * weights, minlength=_BLOCKS)

        shift = labels.mean() if len(labels) else 0.0
        error, weight = predictions - labels, summed(np.ones(len(labels)))
        mean = summed(labels - shift) / np.where(weight > 0, weight, 1) + shift
        spread = summed((labels - mean[block]) ** 2)
        sums = np.stack([weight, mean, spread, summed(np.abs(error)), summed(error**2)], axis=1)
        return cls(sums, int((weights > 0).sum()))

    @classmethod
    def merge(cls, parts: Iterable[ErrorSums]) -> ErrorSums:
        """The sums of all parts."""
        parts = [*parts]
        stacked = np.stack([part._sums for part in parts])
        return cls(_together(stacked), sum(part.examples for part in parts))

    def value(self, name: MetricName) -> float:
        """The metric of that name; NaN without examples, and r2 of equal labels."""
        return _metric(name.kind, _together(self._sums))

    def interval(self, name: MetricName) -> tuple[float, float]:
        """Bounds of the metric's 95 % interval; NaN with fewer examples than 10 a block."""
        if self.examples < 10 * _BLOCKS:
            return math.nan, math.nan
        others = [np.delete(self._sums, block, axis=0) for block in range(_BLOCKS)]
        without = np.array([_metric(name.kind, _together(some)) for some in others])
        variance = (_BLOCKS - 1) / _BLOCKS * np.square(without - without.mean()).sum()
        half = _LEVEL * math.sqrt(variance)
        value = self.value(name)
        least = -math.inf if name.kind == "r2" else 0.0
        most = 1.0 if name.kind == "r2" else math.inf
        return max(value - half, least), min(value + half, most)


def _together(sums: np.ndarray) -> np.ndarray:
    """Adds up along the first axis, [parts, ..., 5] to [..., 5].

    Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample
    Variances" (1979).
    """
    weight, mean, spread, absolute, squared = np.moveaxis(sums, -1, 0)
    total = weight.sum(axis=0)
    # From one of the means on, so that large ones lose no digits.
    shift = mean[0]
    both = (weight * (mean - shift)).sum(axis=0) / np.where(total > 0, total, 1) + shift
    spread = (spread + weight * (mean - both) ** 2).sum(axis=0)
    return np.stack([total, both, spread, absolute.sum(axis=0), squared.sum(axis=0)], axis=-1)


def _metric(kind: str, sums: np.ndarray) -> float:
    weight, _, spread, absolute, squared = (float(one) for one in sums)
    if not weight:
        return math.nan
    if kind == "mae":
        return absolute / weight
    if kind == "mse":
        return squared / weight
    if kind == "rmse":
        return math.sqrt(squared / weight)
    return 1 - squared / spread if spread > 0 else math.nan
