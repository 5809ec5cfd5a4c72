"""Computes metrics of a regression from sums over blocks of examples."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabular.metrics.blocks import BLOCKS, MIN_EXAMPLES, blocks_of, jackknife
from tabular.metrics.metric_names import MetricName
from tabular.metrics.scores import check_weights


class ErrorSums:
    """Sums over labels and errors in blocks of examples; see blocks.py."""

    def __init__(self, sums: NDArray[np.float64], examples: int):
        # [blocks, 5]: weight, mean label, sum of squared deviations from that mean, sum of absolute
        # errors, sum of squared errors. Squares of the labels themselves would lose the digits of
        # large labels that hardly differ.
        self._sums, self.examples = sums, examples

    @classmethod
    def count(
        cls,
        labels: NDArray[np.float64],
        predictions: NDArray[np.float64],
        weights: NDArray[np.float64] | None = None,
    ) -> ErrorSums:
        """Sums up examples, each array [rows].

        Raises:
          ValueError: A label or a prediction is not a finite number, or a weight is negative.
        """
        for name, values in (("labels", labels), ("predictions", predictions)):
            if not np.isfinite(values).all():
                wrong = int((~np.isfinite(values)).sum())
                raise ValueError(
                    f"{name} must be finite numbers. Received: {wrong:,} of {len(values):,} that "
                    "are not"
                )
        weights = np.ones(len(labels)) if weights is None else weights
        check_weights(weights)
        block = blocks_of(predictions)

        def summed(terms: NDArray[np.float64]) -> NDArray[Any]:
            return np.bincount(block, terms * weights, minlength=BLOCKS)

        shift = labels.mean() if len(labels) else 0.0
        error, weight = predictions - labels, summed(np.ones(len(labels)))
        mean = summed(labels - shift) / np.where(weight > 0, weight, 1) + shift
        spread = summed((labels - mean[block]) ** 2)
        sums = np.stack([weight, mean, spread, summed(np.abs(error)), summed(error**2)], axis=1)
        return cls(sums, int((weights > 0).sum()))

    @classmethod
    def merge(cls, parts: Iterable[ErrorSums]) -> ErrorSums:
        """Returns the sums over all parts."""
        parts = [*parts]
        stacked = np.stack([part._sums for part in parts])
        return cls(_together(stacked), sum(part.examples for part in parts))

    def value(self, name: MetricName) -> float:
        """Returns a metric. It is NaN without examples; so is r2 of equal labels."""
        return _metric(name.kind, _together(self._sums))

    def interval(self, name: MetricName) -> tuple[float, float]:
        """Returns the bounds of a metric's 95 % interval; NaN below 10 examples per block."""
        if self.examples < MIN_EXAMPLES:
            return math.nan, math.nan
        others = [np.delete(self._sums, block, axis=0) for block in range(BLOCKS)]
        without = [_metric(name.kind, _together(some)) for some in others]
        is_r2 = name.kind == "r2"
        least, most = (-math.inf, 1.0) if is_r2 else (0.0, math.inf)
        return jackknife(self.value(name), without, least, most)


def _together(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Combines sums along the first axis, [parts, ..., 5] to [..., 5].

    Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample
    Variances" (1979).
    """
    weight, mean, spread, absolute, squared = np.moveaxis(sums, -1, 0)
    total = weight.sum(axis=0)
    # Counting from one of the means keeps the digits of large means.
    shift = mean[0]
    both = (weight * (mean - shift)).sum(axis=0) / np.where(total > 0, total, 1) + shift
    spread = (spread + weight * (mean - both) ** 2).sum(axis=0)
    return np.stack([total, both, spread, absolute.sum(axis=0), squared.sum(axis=0)], axis=-1)


def _metric(kind: str, sums: NDArray[np.float64]) -> float:
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
