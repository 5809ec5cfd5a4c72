"""How predictions of each task are judged online: the metrics, and samples for their intervals.

A new task is a subclass of OnlineTask in `_TASKS`, with its metrics' names and directions in
pipeline/online_sections.py.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from base.section import ConfigError
from tabular.metrics.classification import auc, calibration, log_loss
from tabular.metrics.scores import ScoreCounts

Values = NDArray[np.float64]
_REPLICATES = 200
_SMALLEST = float(np.finfo(np.float64).eps)  # as scikit-learn's log_loss clips probabilities
_ROUNDING = 1e-3  # largest distance from 1 of a sum of 32-bit probabilities
_AT_ONCE = 20  # replicates per step; each step holds about 100 numbers per row


class Sample(abc.ABC):
    """The labelled events of a version, which can be drawn again (bootstrap).

    Attributes:
      groups: Number of groups of similar events.
    """

    groups: int

    @abc.abstractmethod
    def value(self, metric: str) -> float:
        """Returns a metric of the events; NaN if it is undefined."""

    @abc.abstractmethod
    def replicates(self, metrics: Sequence[str]) -> dict[str, Values]:
        """Returns metric -> its values on 200 resampled sets of events.

        The Poisson bootstrap (Chamandy et al. 2012) draws groups instead of events. The events of a
        group are alike, and intervals that treated them as independent would be too narrow.
        """


class OnlineTask(abc.ABC):
    """A kind of prediction.

    Attributes:
      titles: Metric -> its name for people. `{label}`, `{events}` and `{positives}` stand for the
        application's names.
      shown: Metrics in tables and charts.
      counts_positives: Whether a label is 0 or 1.
    """

    titles: Mapping[str, str]
    shown: tuple[str, ...]
    counts_positives: bool

    @abc.abstractmethod
    def check(self, labels: pd.Series, predictions: pd.Series) -> None:
        """Raises ValueError if a label or a prediction is not one of the task."""

    def numbers(self, predictions: pd.Series) -> Values:
        """Returns predictions that were checked, [rows] or [rows, outputs]."""
        return predictions.to_numpy(np.float64)

    @abc.abstractmethod
    def sample(self, labels: Values, predictions: Values, groups: NDArray, seed: int) -> Sample:
        """Returns a sample of events, [rows] each, with the seed of its bootstrap."""


class Binary(OnlineTask):
    """The probability of label 1."""

    titles: Mapping[str, str] = {
        "mean_label": "{positives} / {events}",
        "auc": "AUC",
        "log_loss": "log loss",
        "calibration": "calibration",
        # Log loss divided by the log loss of always predicting the mean label (He et al. 2014). It
        # can be compared between hours of different means. Above 1, a model is worse than its mean.
        "normalized_entropy": "normalized log loss",
    }
    shown = ("mean_label", "auc", "log_loss", "calibration")
    counts_positives = True

    def check(self, labels: pd.Series, predictions: pd.Series) -> None:
        _check(labels, _numbers(labels).isin([0, 1]), "a label must be 0 or 1")
        right = _numbers(predictions).between(0, 1)
        _check(predictions, right, "a prediction must be a probability between 0 and 1")

    def sample(self, labels: Values, predictions: Values, groups: NDArray, seed: int) -> Sample:
        return _BinarySample(labels, predictions, groups, seed)


class Multiclass(OnlineTask):
    """The probabilities of labels 0, 1, ..., a list of numbers."""

    titles: Mapping[str, str] = {
        "accuracy": "accuracy",
        "log_loss": "log loss",
        # Divided by the log loss of always predicting the share of each class.
        "normalized_entropy": "normalized log loss",
    }
    shown = ("accuracy", "log_loss", "normalized_entropy")
    counts_positives = False

    def check(self, labels: pd.Series, predictions: pd.Series) -> None:
        classes = int(predictions.map(np.size).max()) if len(predictions) else 0
        expected = "a prediction must be a list of probabilities whose sum is 1, one for each class"
        _check(predictions, predictions.map(lambda one: _is_distribution(one, classes)), expected)
        right = _numbers(labels).isin(range(classes))
        _check(labels, right, f"a label must be a whole number from 0 to {classes - 1}")

    def numbers(self, predictions: pd.Series) -> Values:
        return np.stack([np.asarray(one, np.float64) for one in predictions])

    def sample(self, labels: Values, predictions: Values, groups: NDArray, seed: int) -> Sample:
        return _MulticlassSample(labels, predictions, groups, seed)


class Regression(OnlineTask):
    """The mean of a label that is any number."""

    titles: Mapping[str, str] = {
        "mean_label": "mean {label}",
        "rmse": "RMSE",
        "mae": "MAE",
        "bias": "bias",  # the mean prediction minus the mean label
        # RMSE divided by the RMSE of always predicting the mean label: comparable between hours of
        # different spread, and above 1 a model is worse than its mean.
        "normalized_rmse": "normalized RMSE",
    }
    shown = ("mean_label", "rmse", "mae", "bias")
    counts_positives = False

    def check(self, labels: pd.Series, predictions: pd.Series) -> None:
        for name, values in (("label", labels), ("prediction", predictions)):
            right = _numbers(values).abs() < np.inf
            _check(values, right, f"a {name} must be a finite number")

    def sample(self, labels: Values, predictions: Values, groups: NDArray, seed: int) -> Sample:
        return _RegressionSample(labels, predictions, groups, seed)


_TASKS: Mapping[str, OnlineTask] = {
    "binary": Binary(),
    "multiclass": Multiclass(),
    "regression": Regression(),
}


def online_task(task: str) -> OnlineTask:
    """Returns how predictions of a task are judged.

    Raises:
      ConfigError: There is no way yet.
    """
    if task not in _TASKS:
        raise ConfigError(
            f"online evaluation judges the tasks {', '.join(_TASKS)}. Received: an application "
            f"whose task is {task}"
        )
    return _TASKS[task]


def _numbers(values: pd.Series) -> pd.Series:
    """Returns values as numbers, NaN for anything else."""
    return pd.to_numeric(values, errors="coerce").astype(float)


def _check(values: pd.Series, right: pd.Series, expected: str) -> None:
    wrong = values[~right.to_numpy(bool)]
    if len(wrong):
        raise ValueError(f"{expected}. Received: {wrong.iloc[0]}, one of {len(wrong):,} events")


class _Groups:
    """The groups of events, and how often each is drawn."""

    def __init__(self, groups: NDArray, seed: int):
        found, self.of_row = np.unique(groups, return_inverse=True)
        self.count = len(found)
        self._chance = np.random.default_rng(seed)

    def drawn(self) -> NDArray[np.int64]:
        """Returns the number of times that each group is drawn, [replicates of a step, groups]."""
        return self._chance.poisson(1.0, (_AT_ONCE, self.count))


class _BinarySample(Sample):
    def __init__(self, labels: Values, predictions: Values, groups: NDArray, seed: int):
        labels = labels.astype(np.int64)
        # Sorted by score, so that rows of equal score are adjacent and summed together.
        order = np.argsort(predictions, kind="stable")
        self._counts = ScoreCounts.count(labels, predictions)
        self._positive = labels[order]
        self._starts = np.searchsorted(predictions[order], self._counts.score)
        self._drawing = _Groups(groups, seed)
        self._group, self.groups = self._drawing.of_row[order], self._drawing.count

    def value(self, metric: str) -> float:
        return float(_BINARY[metric](self._counts))

    def replicates(self, metrics: Sequence[str]) -> dict[str, Values]:
        found: dict[str, list[Values]] = {name: [] for name in metrics}
        for _ in range(0, _REPLICATES, _AT_ONCE):
            times = self._drawing.drawn()[:, self._group]
            counts = dataclasses.replace(
                self._counts,
                positive=np.add.reduceat(times * self._positive, self._starts, axis=1),
                negative=np.add.reduceat(times * (1 - self._positive), self._starts, axis=1),
            )
            for name in metrics:
                found[name].append(_BINARY[name](counts))
        return {name: np.concatenate(some) for name, some in found.items()}


def _positive_share(counts: ScoreCounts) -> Values:
    positives, others = counts.positive.sum(axis=-1), counts.negative.sum(axis=-1)
    with np.errstate(invalid="ignore"):  # NaN if no group was drawn
        return np.asarray(positives / (positives + others))


def _normalized_entropy(counts: ScoreCounts) -> Values:
    """Returns the normalized entropy; NaN if all labels are equal."""
    mean = _positive_share(counts)
    mean = np.where((mean > 0) & (mean < 1), mean, np.nan)
    constant = -(mean * np.log(mean) + (1 - mean) * np.log1p(-mean))
    return np.asarray(log_loss(counts) / constant)


_BINARY: Mapping[str, Callable[[ScoreCounts], Values]] = {
    "mean_label": _positive_share,
    "auc": auc,
    "log_loss": log_loss,
    "calibration": calibration,
    "normalized_entropy": _normalized_entropy,
}


class _SumSample(Sample):
    """Events whose metrics follow from sums, so that a replicate is a sum of the groups' sums.

    Args:
      terms: Terms of the sums, [rows, terms]; the first one is 1.
      groups: Group of each event, [rows].
      seed: Seed of the bootstrap.
    """

    def __init__(self, terms: Values, groups: NDArray, seed: int):
        self._drawing = _Groups(groups, seed)
        self.groups = self._drawing.count
        self._sums = np.zeros((self.groups, terms.shape[1]))
        np.add.at(self._sums, self._drawing.of_row, terms)

    @abc.abstractmethod
    def _metrics(self, means: Values) -> dict[str, Values]:
        """Returns all metrics of the means of the terms without the first, [..., terms - 1]."""

    def value(self, metric: str) -> float:
        return float(self._of_sums(self._sums.sum(axis=0))[metric])

    def replicates(self, metrics: Sequence[str]) -> dict[str, Values]:
        steps = [self._drawing.drawn() @ self._sums for _ in range(0, _REPLICATES, _AT_ONCE)]
        found = self._of_sums(np.concatenate(steps))
        return {name: found[name] for name in metrics}

    def _of_sums(self, sums: Values) -> dict[str, Values]:
        with np.errstate(invalid="ignore", divide="ignore"):  # NaN if no group was drawn
            return self._metrics(sums[..., 1:] / sums[..., :1])


class _RegressionSample(_SumSample):
    def __init__(self, labels: Values, predictions: Values, groups: NDArray, seed: int):
        # Labels are counted from their mean, which keeps the digits of large ones.
        self._shift = float(labels.mean())
        label, error = labels - self._shift, predictions - labels
        terms = (np.ones(len(labels)), label, label**2, error, np.abs(error), error**2)
        super().__init__(np.stack(terms, axis=1), groups, seed)

    def _metrics(self, means: Values) -> dict[str, Values]:
        label, squared_label, bias, absolute, squared = np.moveaxis(means, -1, 0)
        variance = squared_label - label**2
        # What is left of equal labels is a rounding error.
        variance = np.where(variance > 1e-12 * squared_label, variance, np.nan)
        return {
            "mean_label": label + self._shift,
            "rmse": np.sqrt(squared),
            "mae": absolute,
            "bias": bias,
            "normalized_rmse": np.sqrt(squared / variance),
        }


class _MulticlassSample(_SumSample):
    def __init__(self, labels: Values, predictions: Values, groups: NDArray, seed: int):
        label, rows = labels.astype(np.int64), np.arange(len(labels))
        loss = -np.log(np.clip(predictions[rows, label], _SMALLEST, 1))
        right = predictions.argmax(axis=1) == label
        is_class = np.eye(predictions.shape[1])[label]
        terms = np.column_stack([np.ones(len(labels)), loss, right, is_class])
        super().__init__(terms, groups, seed)

    def _metrics(self, means: Values) -> dict[str, Values]:
        loss, right, shares = means[..., 0], means[..., 1], means[..., 2:]
        constant = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=-1)
        return {
            "accuracy": right,
            "log_loss": loss,
            "normalized_entropy": loss / np.where(constant > 0, constant, np.nan),
        }


def _is_distribution(prediction: object, classes: int) -> bool:
    try:
        values = np.asarray(prediction, np.float64)
    except (TypeError, ValueError):
        return False
    right = values.shape == (classes,) and bool((values >= 0).all())
    return right and bool(abs(values.sum() - 1) < _ROUNDING)
