"""The tasks of models: to predict the probability of label 1 or of each class, or a number.

A Task has all that depends on it: the check of the labels, the network's last layer, the loss, the
metrics of a validation, and calibration. The Evaluator's metrics are in tabular/metrics.
"""

from __future__ import annotations

import abc
import dataclasses
import logging
import math
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from sklearn.linear_model import LinearRegression, LogisticRegression

from tabular.errors import TrainingError
from tabular.feature_set import PREDICTIONS, FeatureSet, TaskName
from tabular.labels import Factors, LabelSummary
from tabular.layers import Probabilities
from tabular.metrics.classification import auc, log_loss
from tabular.metrics.metric_names import MetricName
from tabular.metrics.multiclass import ClassCounts
from tabular.metrics.scores import ScoreCounts

_log = logging.getLogger(__name__)
_SMALLEST = float(np.finfo(np.float32).tiny)  # probability above 0, whose logarithm is finite
_LOG_SLOPES = (-4.0, 4.0)  # bounds of the logarithm of a multiclass model's slope
_SURE = 1 - float(np.finfo(np.float32).epsneg)  # largest probability below 1 in 32 bits


@dataclasses.dataclass(frozen=True)
class Scored:
    """Rows that a model has scored.

    Attributes:
      labels: Labels, [rows].
      scores: Predictions, [rows], or [rows, classes] of several classes.
      weights: Weights, [rows].
    """

    labels: NDArray[np.float32]
    scores: NDArray[np.floating[Any]]
    weights: NDArray[np.floating[Any]]

    @classmethod
    def of_columns(cls, columns: NDArray[np.float32]) -> Scored:
        """Returns rows of label, weight and predictions, [rows, 2 + outputs]."""
        scores = columns[:, 2:]
        return cls(columns[:, 0], scores[:, 0] if scores.shape[1] == 1 else scores, columns[:, 1])

    def counting(self) -> Scored:
        """Returns the rows with a weight above 0, with scores and weights in 64 bits."""
        rows = self.weights > 0
        scores, weights = (one[rows].astype(np.float64) for one in (self.scores, self.weights))
        return Scored(self.labels[rows], scores, weights)


class Task(abc.ABC):
    """A kind of prediction.

    Attributes:
      name: Name in FeatureSet.task.
      advice: End of the error for labels of another task.
    """

    name: ClassVar[TaskName]
    advice: ClassVar[str] = ""

    @property
    def prediction(self) -> str:
        """Name of the served output, and of the network's last layer."""
        return PREDICTIONS[self.name]

    def outputs(self, labels: LabelSummary) -> int:
        """Returns the number of scores of a row."""
        return 1

    def check_values(self, features: FeatureSet, labels: LabelSummary, split: str) -> None:
        """Raises TrainingError if a label of the split is none of the classes."""
        if labels.others:
            raise TrainingError(
                f"the label {features.label} must be {self.expected(features)} in every example. "
                f"Received: another value in {labels.others:,} of {labels.rows:,} in split "
                f"{split}. Check how the ETL makes the label{self.advice}"
            )

    def expected(self, features: FeatureSet) -> str:
        """Returns the expected labels, for an error."""
        return "a number"

    @abc.abstractmethod
    def check(self, features: FeatureSet, labels: LabelSummary) -> None:
        """Raises TrainingError if these labels of the training split cannot be learned."""

    @abc.abstractmethod
    def output(self, features: FeatureSet, labels: LabelSummary) -> keras.layers.Layer:
        """Returns the last layer, [rows, outputs] to [rows, outputs], which starts at the labels.

        It has a `kernel` and a `bias`, which calibration changes.
        """

    @abc.abstractmethod
    def loss(self, class_weights: Factors | None) -> keras.losses.Loss:
        """Returns the loss to train with.

        With class weights the loss is that of the weighted data, and the model still predicts the
        data without them: the loss adds the logarithms of the weights to the model's log-odds, with
        which the weighted data has the same minimum. A model of the weighted data, corrected by
        these logarithms, is the same model. So there is nothing to restore after training, and the
        validation of each round is that of what is served (the change of base rates in Elkan, "The
        Foundations of Cost-Sensitive Learning" (2001), theorem 2).

        Args:
          class_weights: Weight of each class, [classes]. The caller weights the rows with it too.
        """

    @abc.abstractmethod
    def constant_loss(self, labels: LabelSummary) -> float:
        """Returns the loss of always predicting the mean of these labels, or the class shares."""

    def loss_weight(self, labels: LabelSummary) -> float:
        """Returns the factor that brings the loss to the order of 1."""
        return 1.0

    @abc.abstractmethod
    def metrics(self, found: Scored) -> dict[str, float]:
        """Returns the metrics of a validation, `val_loss` among them.

        All are NaN if a score is not finite.
        """

    @abc.abstractmethod
    def line(self, found: Scored) -> tuple[float, float] | None:
        """Fits what the last layer takes in to labels: z becomes slope * z + intercept.

        A network that stops at its best round ranks well, but its predictions are often a few per
        cent off. Two numbers overfit no split.

        Returns:
          Slope and intercept, or None if they cannot be fitted; a warning then says why.
        """


def _entropy(labels: LabelSummary) -> float:
    """Returns the log loss of always predicting the share of each class, in nats."""
    shares = np.array(labels.of_class) / sum(labels.of_class)
    return float(-(shares * np.log(np.where(shares > 0, shares, 1))).sum())


class Binary(Task):
    """The probability of label 1, of labels 0 and 1."""

    name = "binary"
    advice = ', or declare FeatureSet(task="multiclass") or task="regression"'

    def expected(self, features: FeatureSet) -> str:
        return "0 or 1"

    def check(self, features: FeatureSet, labels: LabelSummary) -> None:
        if 0 in labels.of_class:
            raise TrainingError(
                f"the label {features.label} must be 0 in some training examples and 1 in others. "
                f"Received: a mean of {labels.mean:g} in {labels.rows:,}. Check how the ETL makes "
                "the label"
            )

    def output(self, features: FeatureSet, labels: LabelSummary) -> keras.layers.Layer:
        negative, positive = labels.of_class
        return keras.layers.Dense(
            1,
            activation="sigmoid",
            kernel_initializer="ones",
            bias_initializer=keras.initializers.Constant(math.log(positive / negative)),
            name=self.prediction,
        )

    def constant_loss(self, labels: LabelSummary) -> float:
        return _entropy(labels)

    def loss(self, class_weights: Factors | None) -> keras.losses.Loss:
        if class_weights is None:
            return keras.losses.BinaryCrossentropy()
        return _WeightedCrossentropy(math.log(class_weights[1] / class_weights[0]))

    def metrics(self, found: Scored) -> dict[str, float]:
        """Returns the exact log loss and AUC; the AUC is NaN if all labels are equal.

        Keras' own AUC counts scores in bins of equal width and is wrong by several hundredths for
        rare events.
        """
        if not np.isfinite(found.scores).all():
            return {"val_loss": math.nan, "val_auc": math.nan}
        counts = ScoreCounts.count(found.labels, found.scores, found.weights)
        return {"val_loss": float(log_loss(counts)), "val_auc": float(auc(counts))}

    def line(self, found: Scored) -> tuple[float, float] | None:
        """Fits log-odds (Platt, "Probabilistic Outputs for Support Vector Machines" (1999))."""
        found = found.counting()
        if len(np.unique(found.labels)) < 2:
            _log.warning("not calibrated: all labels of the eval split are %g", found.labels[0])
            return None
        probability = np.clip(found.scores, 1e-7, 1 - 1e-7)
        log_odds = np.log(probability / (1 - probability))[:, np.newaxis]
        fitted = LogisticRegression(C=np.inf).fit(log_odds, found.labels, found.weights)
        return _rising(float(fitted.coef_[0, 0]), float(fitted.intercept_[0]))


class _WeightedCrossentropy(keras.losses.Loss):
    """Cross-entropy of probabilities whose log-odds are moved by the weights of the classes.

    Args:
      shift: Logarithm of the weight of label 1 over that of label 0.
    """

    def __init__(self, shift: float):
        super().__init__(name="weighted_crossentropy")
        self._shift = shift

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        probability = tf.clip_by_value(y_pred, _SMALLEST, _SURE)
        log_odds = tf.math.log(probability) - tf.math.log1p(-probability)
        moved = log_odds + self._shift
        return keras.losses.binary_crossentropy(y_true, moved, from_logits=True)


class Multiclass(Task):
    """The probability of each class, of labels 0, 1, ..., n-1 for n classes."""

    name = "multiclass"

    def outputs(self, labels: LabelSummary) -> int:
        return len(labels.of_class)

    def expected(self, features: FeatureSet) -> str:
        return f"a whole number from 0 to {len(features.classes) - 1}, the index of a class,"

    def check(self, features: FeatureSet, labels: LabelSummary) -> None:
        """Raises TrainingError for a class without examples.

        A model could not learn it and would still be served with it. More often than a rare class,
        it is a mistake in the numbers of the labels.
        """
        never = [
            f"{label} ({name})"
            for label, (name, weight) in enumerate(
                zip(features.classes, labels.of_class, strict=True)
            )
            if not weight
        ]
        if never:
            raise TrainingError(
                f"the label {features.label} must have each of its {len(features.classes)} classes "
                f"in some training examples. Received: none of {', '.join(never)} in "
                f"{labels.rows:,}. Check how the ETL makes the label, train on more data, or leave "
                "the class out of FeatureSet.classes"
            )

    def output(self, features: FeatureSet, labels: LabelSummary) -> keras.layers.Layer:
        return Probabilities(features.classes, labels.shares, name=self.prediction)

    def constant_loss(self, labels: LabelSummary) -> float:
        return _entropy(labels)

    def loss(self, class_weights: Factors | None) -> keras.losses.Loss:
        if class_weights is None:
            return keras.losses.SparseCategoricalCrossentropy()
        return _WeightedClassesCrossentropy(np.log(class_weights))

    def metrics(self, found: Scored) -> dict[str, float]:
        """Returns the exact log loss, accuracy and macro AUC, NaN if a class is missing."""
        names = {"val_loss": "log_loss", "val_accuracy": "accuracy", "val_macro_auc": "macro_auc"}
        if not np.isfinite(found.scores).all():
            return dict.fromkeys(names, math.nan)
        counts = ClassCounts.count(found.labels, found.scores, found.weights)
        return {key: counts.value(MetricName(name)) for key, name in names.items()}

    def line(self, found: Scored) -> tuple[float, float] | None:
        """Fits a temperature, whose inverse is the slope; the intercept is 0.

        One number changes no ranking of the classes within a row (Guo et al., "On Calibration of
        Modern Neural Networks" (2017)).
        """
        found = found.counting()
        rows, labels = np.arange(len(found.labels)), found.labels.astype(np.int64)
        log_scores = np.log(np.clip(found.scores, 1e-7, 1))

        def loss(log_slope: float) -> float:
            scaled = math.exp(log_slope) * log_scores
            each = logsumexp(scaled, axis=1) - scaled[rows, labels]
            return float(np.average(each, weights=found.weights))

        if (found.scores.argmax(axis=1) == labels).all():
            _log.warning("not calibrated: the model has no error on the eval split")
            return None
        fitted = minimize_scalar(loss, bounds=_LOG_SLOPES, method="bounded")
        if fitted.x < _LOG_SLOPES[0] + 0.01:
            _log.warning("not calibrated: the model tells classes apart no better than chance")
            return None
        return math.exp(fitted.x), 0.0


class _WeightedClassesCrossentropy(keras.losses.Loss):
    """Cross-entropy of probabilities, each multiplied by the weight of its class.

    Args:
      shift: Logarithm of the weight of each class, [classes].
    """

    def __init__(self, shift: Factors):
        super().__init__(name="weighted_crossentropy")
        self._shift = shift.astype(np.float32)

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        moved = tf.math.log(tf.maximum(y_pred, _SMALLEST)) + self._shift
        return keras.losses.sparse_categorical_crossentropy(y_true, moved, from_logits=True)


class Regression(Task):
    """The mean of a label that is any number."""

    name = "regression"

    def check(self, features: FeatureSet, labels: LabelSummary) -> None:
        if not math.isfinite(labels.squares):
            raise TrainingError(
                f"the label {features.label} must be a finite number in every training example. "
                "Received: NaN or infinity. Check how the ETL makes the label"
            )
        if labels.squares == 0:
            raise TrainingError(
                f"the label {features.label} must differ between training examples. Received: "
                f"{labels.mean:g} in all {labels.rows:,}. Check how the ETL makes the label"
            )

    def output(self, features: FeatureSet, labels: LabelSummary) -> keras.layers.Layer:
        # The network's own output is of the order of 1, whatever the unit of the label.
        return keras.layers.Dense(
            1,
            kernel_initializer=keras.initializers.Constant(math.sqrt(labels.variance)),
            bias_initializer=keras.initializers.Constant(labels.mean),
            name=self.prediction,
        )

    def constant_loss(self, labels: LabelSummary) -> float:
        return labels.variance

    def loss(self, class_weights: Factors | None) -> keras.losses.Loss:
        return keras.losses.MeanSquaredError()

    def loss_weight(self, labels: LabelSummary) -> float:
        return 1 / labels.variance

    def metrics(self, found: Scored) -> dict[str, float]:
        """Returns the mean squared error and its root, in the label's unit."""
        error = found.labels.astype(np.float64) - found.scores
        finite = np.isfinite(found.scores).all()
        loss = float(np.average(error**2, weights=found.weights)) if finite else math.nan
        return {"val_loss": loss, "val_rmse": math.sqrt(loss)}

    def line(self, found: Scored) -> tuple[float, float] | None:
        found = found.counting()
        if len(np.unique(found.scores)) < 2:
            _log.warning("not calibrated: all predictions of the eval split are equal")
            return None
        fitted = LinearRegression().fit(found.scores[:, np.newaxis], found.labels, found.weights)
        return _rising(float(fitted.coef_[0]), float(fitted.intercept_))


def _rising(slope: float, intercept: float) -> tuple[float, float] | None:
    if slope <= 0:
        _log.warning("not calibrated: the model ranks no better than chance (slope %.3f)", slope)
        return None
    return slope, intercept


_TASKS = {task.name: task for task in (Binary(), Multiclass(), Regression())}


def task_of(features: FeatureSet) -> Task:
    """Returns the task of a model with these features."""
    return _TASKS[features.task]
