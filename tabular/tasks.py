"""The tasks of models: to predict the probability of label 1, or a number.

A Task has all that depends on it: the check of the labels, the network's last layer, the loss, the
metrics of a validation, and calibration. The Evaluator's metrics are in tabular/metrics.
"""

from __future__ import annotations

import abc
import dataclasses
import logging
import math
from typing import Literal

import numpy as np
import tf_keras as keras
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression, LogisticRegression

from tabular.errors import TrainingError
from tabular.feature_set import FeatureSet
from tabular.metrics.classification import auc, log_loss
from tabular.metrics.scores import ScoreCounts

_log = logging.getLogger(__name__)
Labels = NDArray[np.float32]
Scores = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class LabelMoments:
    """The labels of a training split.

    Attributes:
      rows: Number of rows.
      mean: Mean label; NaN if a label is not finite.
      squares: Sum of the squared deviations from the mean.
    """

    rows: int
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, labels: NDArray[np.float64]) -> LabelMoments:
        """Returns the moments of labels, [rows]."""
        if not len(labels):
            return cls(0)
        mean = float(labels.mean())
        return cls(len(labels), mean, float(((labels - mean) ** 2).sum()))

    def merged(self, other: LabelMoments) -> LabelMoments:
        """Returns the moments of both (Chan et al. 1979), which do not cancel."""
        rows = self.rows + other.rows
        if not rows:
            return self
        apart = other.mean - self.mean
        mean = self.mean + apart * other.rows / rows
        between = apart * apart * self.rows * other.rows / rows
        return LabelMoments(rows, mean, self.squares + other.squares + between)

    @property
    def variance(self) -> float:
        return self.squares / self.rows


class Task(abc.ABC):
    """A kind of prediction.

    Attributes:
      prediction: Name of the served output, and of the network's last layer.
    """

    prediction: str

    @abc.abstractmethod
    def check(self, label: str, moments: LabelMoments) -> None:
        """Raises TrainingError if these labels cannot be learned; `label` is their name."""

    @abc.abstractmethod
    def output(self, moments: LabelMoments) -> keras.layers.Dense:
        """Returns the last layer, from [rows, 1] to [rows, 1], which starts at the mean label."""

    @abc.abstractmethod
    def loss(self) -> keras.losses.Loss:
        """Returns the loss to train with."""

    def loss_weight(self, moments: LabelMoments) -> float:
        """Returns the factor that brings the loss to the order of 1."""
        return 1.0

    @abc.abstractmethod
    def metrics(self, labels: Labels, scores: Scores) -> dict[str, float]:
        """Returns the metrics of a validation, `val_loss` among them, of labels and scores [rows].

        All are NaN if a score is not finite.
        """

    @abc.abstractmethod
    def line(self, labels: Labels, scores: Scores) -> tuple[float, float] | None:
        """Fits what the last layer takes in to labels: z becomes slope * z + intercept.

        A network that stops at its best round ranks well, but its predictions are often a few per
        cent off. Two numbers overfit no split.

        Returns:
          Slope and intercept, or None if they cannot be fitted; a warning then says why.
        """


class Binary(Task):
    """The probability of label 1, of labels 0 and 1."""

    prediction = "probability"

    def check(self, label: str, moments: LabelMoments) -> None:
        share, rows = moments.mean, moments.rows
        expected = f"the label {label} must be 0 in some training examples and 1 in others"
        if not 0 < share < 1:
            raise TrainingError(
                f"{expected}. Received: a mean of {share:g} in {rows:,}. Check how the ETL makes "
                "the label"
            )
        # Labels of 0 and 1 have no other sum of squares than this one.
        if not math.isclose(moments.squares, rows * share * (1 - share), rel_tol=1e-9):
            raise TrainingError(
                f"{expected}. Received: other numbers too. Check how the ETL makes the label, or "
                'declare FeatureSet(task="regression")'
            )

    def output(self, moments: LabelMoments) -> keras.layers.Dense:
        bias = keras.initializers.Constant(math.log(moments.mean / (1 - moments.mean)))
        return keras.layers.Dense(
            1,
            activation="sigmoid",
            kernel_initializer="ones",
            bias_initializer=bias,
            name=self.prediction,
        )

    def loss(self) -> keras.losses.Loss:
        return keras.losses.BinaryCrossentropy()

    def metrics(self, labels: Labels, scores: Scores) -> dict[str, float]:
        """Returns the exact log loss and AUC; the AUC is NaN if all labels are equal.

        Keras' own AUC counts scores in bins of equal width and is wrong by several hundredths for
        rare events.
        """
        if not np.isfinite(scores).all():
            return {"val_loss": math.nan, "val_auc": math.nan}
        counts = ScoreCounts.count(labels, scores)
        return {"val_loss": float(log_loss(counts)), "val_auc": float(auc(counts))}

    def line(self, labels: Labels, scores: Scores) -> tuple[float, float] | None:
        """Fits log-odds (Platt, "Probabilistic Outputs for Support Vector Machines" (1999))."""
        if len(np.unique(labels)) < 2:
            _log.warning("not calibrated: all labels of the eval split are %g", labels[0])
            return None
        probability = np.clip(scores.astype(np.float64), 1e-7, 1 - 1e-7)
        log_odds = np.log(probability / (1 - probability))[:, np.newaxis]
        fitted = LogisticRegression(C=np.inf).fit(log_odds, labels)
        return _rising(float(fitted.coef_[0, 0]), float(fitted.intercept_[0]))


class Regression(Task):
    """The mean of a label that is any number."""

    prediction = "prediction"

    def check(self, label: str, moments: LabelMoments) -> None:
        if not math.isfinite(moments.squares):
            raise TrainingError(
                f"the label {label} must be a finite number in every training example. Received: "
                "NaN or infinity. Check how the ETL makes the label"
            )
        if moments.squares == 0:
            raise TrainingError(
                f"the label {label} must differ between training examples. Received: "
                f"{moments.mean:g} in all {moments.rows:,}. Check how the ETL makes the label"
            )

    def output(self, moments: LabelMoments) -> keras.layers.Dense:
        # The network's own output is of the order of 1, whatever the unit of the label.
        return keras.layers.Dense(
            1,
            kernel_initializer=keras.initializers.Constant(math.sqrt(moments.variance)),
            bias_initializer=keras.initializers.Constant(moments.mean),
            name=self.prediction,
        )

    def loss(self) -> keras.losses.Loss:
        return keras.losses.MeanSquaredError()

    def loss_weight(self, moments: LabelMoments) -> float:
        return 1 / moments.variance

    def metrics(self, labels: Labels, scores: Scores) -> dict[str, float]:
        """Returns the mean squared error and its root, in the label's unit."""
        error = labels.astype(np.float64) - scores
        loss = float((error**2).mean()) if np.isfinite(scores).all() else math.nan
        return {"val_loss": loss, "val_rmse": math.sqrt(loss)}

    def line(self, labels: Labels, scores: Scores) -> tuple[float, float] | None:
        if len(np.unique(scores)) < 2:
            _log.warning("not calibrated: all predictions of the eval split are equal")
            return None
        fitted = LinearRegression().fit(scores.astype(np.float64)[:, np.newaxis], labels)
        return _rising(float(fitted.coef_[0]), float(fitted.intercept_))


def _rising(slope: float, intercept: float) -> tuple[float, float] | None:
    if slope <= 0:
        _log.warning("not calibrated: the model ranks no better than chance (slope %.3f)", slope)
        return None
    return slope, intercept


_TASKS: dict[Literal["binary", "regression"], Task] = {
    "binary": Binary(),
    "regression": Regression(),
}


def task_of(features: FeatureSet) -> Task:
    """Returns the task of a model with these features."""
    return _TASKS[features.task]
