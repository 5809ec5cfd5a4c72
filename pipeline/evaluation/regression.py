"""Metrics of a regression, from sums over blocks of examples."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable

import numpy as np

from pipeline.evaluation.metric_names import MetricName

_BLOCKS = 64
_LEVEL = 1.96  # of a normal distribution: 95 %


class ErrorSums:
    """Sums over labels and errors, in 64 blocks of examples that are as good as drawn at random.

    The sums of all blocks give the metrics, exactly. What a metric becomes without one block, for
    each of them, gives its interval: the delete-a-group jackknife (Kott, "The Delete-a-Group
    Jackknife" (2001)), in memory that does not grow with the data.
    """

    def __init__(self, sums: np.ndarray, examples: int):
        # [blocks, 5]: weight, weighted label, its square, absolute and squared error
        self._sums, self.examples = sums, examples

    @classmethod
    def count(
        cls, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None
    ) -> ErrorSums:
        """Adds up examples, each array [rows].

        Raises:
          ValueError: A label or a prediction is not a finite number.
        """
        for name, values in (("labels", labels), ("predictions", predictions)):
            if not np.isfinite(values).all():
                wrong = int((~np.isfinite(values)).sum())
                raise ValueError(f"{wrong:,} of {len(values):,} {name} are not finite numbers")
        weights = np.ones(len(labels)) if weights is None else weights
        error = predictions - labels
        terms = np.stack([np.ones_like(error), labels, labels**2, np.abs(error), error**2])
        # Blocks get equally many examples, however few come at a time.
        first = zlib.crc32(np.ascontiguousarray(predictions).tobytes())
        block = (first + np.arange(len(labels))) % _BLOCKS
        sums = [np.bincount(block, term * weights, minlength=_BLOCKS) for term in terms]
        return cls(np.stack(sums, axis=1), len(labels))

    @classmethod
    def merge(cls, parts: Iterable[ErrorSums]) -> ErrorSums:
        """The sums of all parts."""
        parts = [*parts]
        return cls(
            np.sum([part._sums for part in parts], axis=0), sum(part.examples for part in parts)
        )

    def value(self, name: MetricName) -> float:
        """The metric of that name; NaN without examples, and r2 of equal labels."""
        return _metric(name.kind, self._sums.sum(axis=0))

    def interval(self, name: MetricName) -> tuple[float, float]:
        """Bounds of the metric's 95 % interval; NaN with fewer examples than 10 a block."""
        if self.examples < 10 * _BLOCKS:
            return math.nan, math.nan
        everything = self._sums.sum(axis=0)
        without = np.array([_metric(name.kind, everything - block) for block in self._sums])
        variance = (_BLOCKS - 1) / _BLOCKS * np.square(without - without.mean()).sum()
        half = _LEVEL * math.sqrt(variance)
        value = self.value(name)
        least = -math.inf if name.kind == "r2" else 0.0
        most = 1.0 if name.kind == "r2" else math.inf
        return max(value - half, least), min(value + half, most)


def _metric(kind: str, sums: np.ndarray) -> float:
    weight, label, square, absolute, squared = (float(one) for one in sums)
    if not weight:
        return math.nan
    if kind == "mae":
        return absolute / weight
    if kind == "mse":
        return squared / weight
    if kind == "rmse":
        return math.sqrt(squared / weight)
    spread = square - label**2 / weight
    return 1 - squared / spread if spread > 0 else math.nan
