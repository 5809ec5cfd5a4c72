"""Metrics of each served version, with confidence intervals."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from streaming.online_evaluation.tasks import OnlineTask, Sample, Values

_LEVEL = 0.95
# Replicates of fewer groups hardly differ, and those of one group not at all.
_MIN_GROUPS = 10
_UNKNOWN = (math.nan, math.nan)
Interval = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class ServedMetrics:
    """Metrics of a version in an arm.

    Attributes:
      arm: Label that the clients asked for.
      version: Version of the model.
      events: Number of served events.
      unlabelled: Number of those whose label is not known yet; the metrics leave them out.
      positives: Number of events with label 1; None if the label is a number.
      values: Metric -> value; NaN if it is undefined (AUC of one class).
      intervals: Metric -> 95 % interval (low, high); NaN with fewer than ten groups of events.
    """

    arm: str
    version: int
    events: int
    unlabelled: int
    positives: int | None
    values: Mapping[str, float]
    intervals: Mapping[str, Interval]

    @property
    def labelled(self) -> int:
        return self.events - self.unlabelled


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The metrics of a version compared with those of another one in the same hours.

    Attributes:
      other: Other version.
      events: Number of labelled events of the version that has fewer.
      relative: Metric -> its relative increase, 0.1 for 10 % more, and the 95 % interval of that.
      absolute: Metric -> its increase, and the 95 % interval of that.
    """

    other: int
    events: int
    relative: Mapping[str, tuple[float, Interval]]
    absolute: Mapping[str, tuple[float, Interval]]


def served_metrics(rows: pd.DataFrame, task: OnlineTask, seed: int = 0) -> list[ServedMetrics]:
    """Returns the metrics of each arm and version, in that order.

    Args:
      rows: Columns `arm`, `version`, `prediction`, `label` and `group`, as ServedRows reads them.
        Rows without a version or a prediction are left out: no model has served them.
      task: How predictions are judged.
      seed: Seed of the bootstrap.
    """
    known = rows.dropna(subset=["version", "prediction"])
    known = known.sort_values(["arm", "version"], kind="stable")
    return [
        _metrics_of(str(some["arm"].iloc[0]), int(some["version"].iloc[0]), some, task, seed)
        for _, some in known.groupby(["arm", "version"], sort=False)
    ]


def compare(
    version: pd.DataFrame,
    other: pd.DataFrame,
    metrics: Sequence[str],
    task: OnlineTask,
    seed: int = 0,
) -> Comparison:
    """Returns how metrics of `version` differ from those of `other`.

    Args:
      version: Rows of one version, as `served_metrics` takes them.
      other: Rows of the other version.
      metrics: Names of the metrics.
      task: How predictions are judged.
      seed: Seed of the bootstrap.
    """
    ours, theirs = version.dropna(subset=["label"]), other.dropna(subset=["label"])
    name, fewest = int(other["version"].iloc[0]), min(len(ours), len(theirs))
    if not fewest:
        return Comparison(name, 0, {}, {})
    samples = _sample(ours, task, seed), _sample(theirs, task, seed + 1)  # drawn independently
    our_values, their_values = (
        {metric: sample.value(metric) for metric in metrics} for sample in samples
    )
    our_draws, their_draws = (sample.replicates(metrics) for sample in samples)
    enough = min(sample.groups for sample in samples) >= _MIN_GROUPS
    relative, absolute = {}, {}
    with np.errstate(invalid="ignore", divide="ignore"):  # NaN where the other one's value is 0
        for metric in metrics:
            ratio = np.divide(our_values[metric], their_values[metric]) - 1
            ratios = our_draws[metric] / their_draws[metric] - 1
            relative[metric] = (float(ratio), _interval(ratios) if enough else _UNKNOWN)
            differences = our_draws[metric] - their_draws[metric]
            difference = our_values[metric] - their_values[metric]
            absolute[metric] = (difference, _interval(differences) if enough else _UNKNOWN)
    return Comparison(name, fewest, relative, absolute)


def _metrics_of(
    arm: str, version: int, rows: pd.DataFrame, task: OnlineTask, seed: int
) -> ServedMetrics:
    labelled, names = rows.dropna(subset=["label"]), list(task.titles)
    values, intervals = dict.fromkeys(names, math.nan), dict.fromkeys(names, _UNKNOWN)
    if len(labelled):
        sample = _sample(labelled, task, seed)
        values = {name: sample.value(name) for name in names}
        if sample.groups >= _MIN_GROUPS:
            intervals = {name: _interval(some) for name, some in sample.replicates(names).items()}
    positives = int(labelled["label"].sum()) if task.counts_positives else None
    unlabelled = len(rows) - len(labelled)
    return ServedMetrics(arm, version, len(rows), unlabelled, positives, values, intervals)


def _sample(rows: pd.DataFrame, task: OnlineTask, seed: int) -> Sample:
    labels = rows["label"].to_numpy(np.float64)
    return task.sample(labels, task.numbers(rows["prediction"]), rows["group"].to_numpy(str), seed)


def _interval(replicates: Values) -> Interval:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # if all are NaN, so is the interval
        low, high = np.nanquantile(replicates, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)
