"""Summarizes the labels and weights of a split, and turns class weights into the loss' factors."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tabular.errors import TrainingError

ClassWeights = Mapping[int, float] | Literal["balanced"]
Factors = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class LabelSummary:
    """The labels and weights of a split.

    Attributes:
      rows: Number of rows.
      weight: Total weight of the rows; each counts 1 without a weight column.
      mean: Weighted mean of the labels; NaN if a label is not finite.
      squares: Weighted sum of the squared deviations from the mean.
      of_class: Total weight of the labels 0, 1, ...; empty for a regression.
      others: Number of rows with another label than these; 0 for a regression.
      wrong_weights: Number of rows whose weight is negative or not finite.
    """

    rows: int
    weight: float = 0.0
    mean: float = 0.0
    squares: float = 0.0
    of_class: tuple[float, ...] = ()
    others: int = 0
    wrong_weights: int = 0

    @classmethod
    def of(
        cls, labels: NDArray[Any], weights: NDArray[Any] | None = None, classes: int = 0
    ) -> LabelSummary:
        """Summarizes rows.

        Args:
          labels: Labels, [rows].
          weights: Weights, [rows]; None if each row counts 1.
          classes: Number of classes; 0 for a regression.
        """
        labels = np.asarray(labels, np.float64)
        weights = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
        total = float(weights.sum())
        # NaN, where the sum of the weights is no positive number, is reported by check_weights.
        with np.errstate(invalid="ignore"):
            mean = float(weights @ labels / total) if total else 0.0
            squares = float(weights @ (labels - mean) ** 2)
            is_class = (labels >= 0) & (labels < classes) & (labels == np.floor(labels))
            known = labels[is_class].astype(np.int64)
            of_class = np.bincount(known, weights[is_class], minlength=classes)
        others = len(labels) - len(known) if classes else 0
        wrong = int((~(np.isfinite(weights) & (weights >= 0))).sum())
        return cls(len(labels), total, mean, squares, tuple(map(float, of_class)), others, wrong)

    def merged(self, other: LabelSummary) -> LabelSummary:
        """Returns the summary of both, with moments that do not cancel (Chan et al. 1979)."""
        weight = self.weight + other.weight
        share = other.weight / weight if weight else 0.0
        apart = other.mean - self.mean
        between = apart * apart * self.weight * share
        return LabelSummary(
            self.rows + other.rows,
            weight,
            self.mean + apart * share,
            self.squares + other.squares + between,
            tuple(a + b for a, b in zip(self.of_class, other.of_class, strict=True)),
            self.others + other.others,
            self.wrong_weights + other.wrong_weights,
        )

    @property
    def variance(self) -> float:
        return self.squares / self.weight

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of each class in the weight."""
        return tuple(one / self.weight for one in self.of_class)

    def to_numbers(self) -> list[float]:
        """Returns the numbers that `from_numbers` takes."""
        return [
            *(self.rows, self.weight, self.mean, self.squares, self.others, self.wrong_weights),
            *self.of_class,
        ]

    @staticmethod
    def from_numbers(numbers: Sequence[float]) -> LabelSummary:
        """Returns the summary that `to_numbers` wrote."""
        rows, weight, mean, squares, others, wrong, *of_class = map(float, numbers)
        return LabelSummary(
            int(rows), weight, mean, squares, tuple(of_class), int(others), int(wrong)
        )


def check_weights(name: str | None, summary: LabelSummary, split: str) -> None:
    """Checks the weights of a split.

    Args:
      name: Column of the weights; None without one.
      summary: Rows of the split.
      split: Name of the split.

    Raises:
      TrainingError: A weight is negative or not finite, or no row has a weight above 0.
    """
    if summary.wrong_weights:
        raise TrainingError(
            f"the weight {name} must be a finite number, 0 or more, in every example. Received: "
            f"{summary.wrong_weights:,} of {summary.rows:,} in split {split} that are not. Check "
            "how the ETL makes it"
        )
    if summary.rows and not summary.weight:
        raise TrainingError(
            f"the weight {name} must be above 0 in some examples. Received: 0 in all "
            f"{summary.rows:,} of split {split}"
        )


def weights_of_classes(given: ClassWeights | None, labels: LabelSummary) -> Factors | None:
    """Returns the weight of each class, [classes]; None without class weights.

    Args:
      given: Label -> weight, where other labels have 1, or "balanced": each class has the same
        share of the loss.
      labels: Labels of the training split, with every class.
    """
    if given is None:
        return None
    of_class = np.array(labels.of_class)
    if given == "balanced":
        return np.asarray(labels.weight / (len(of_class) * of_class))
    return np.array([given.get(label, 1.0) for label in range(len(of_class))])


def loss_factors(
    class_weights: Factors | None, has_weights: bool, labels: LabelSummary
) -> Factors | None:
    """Returns what multiplies the weight of a row in the loss.

    The mean over all rows is 1, so that neither the unit of the weights nor that of the class
    weights changes the size of a step.

    Args:
      class_weights: Weight of each class; None for none.
      has_weights: Whether the rows have weights.
      labels: Labels of the training split.

    Returns:
      A factor for each class, or one for all, [classes or 1]; None if every row counts 1.
    """
    if class_weights is None:
        return np.array([labels.rows / labels.weight]) if has_weights else None
    total = math.fsum(np.multiply(class_weights, labels.of_class))
    return np.asarray(class_weights * labels.rows / total)
