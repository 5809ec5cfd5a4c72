"""Metrics of each served version, with confidence intervals."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from tabular.metrics.classification import auc, calibration, log_loss
from tabular.metrics.scores import ScoreCounts

CTR, AUC, LOG_LOSS, CALIBRATION = "ctr", "auc", "log_loss", "calibration"
# Log loss divided by the log loss of always predicting the mean CTR (He et al. 2014). It can be
# compared between hours of different CTR. Above 1, a model is worse than its mean.
NORMALIZED_ENTROPY = "normalized_entropy"
_REPLICATES = 200
_AT_ONCE = 20  # replicates per step; each step holds about 100 numbers per row
_LEVEL = 0.95

Metric = Callable[[ScoreCounts], np.ndarray]


@dataclasses.dataclass(frozen=True)
class ServedMetrics:
    """Metrics of a version in an arm.

    Attributes:
      arm: Label that users asked for.
      version: Version of the model.
      impressions, clicks: Counts.
      values: Metric -> value; NaN if it is undefined (AUC of one class).
      intervals: Metric -> 95 % interval (low, high).
    """

    arm: str
    version: int
    impressions: int
    clicks: int
    values: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class EntropyIncrease:
    """The relative increase of a version's normalized entropy over another version's.

    Attributes:
      other: Other version.
      value: Relative increase; 0.1 is 10 % more.
      interval: 95 % interval (low, high) of the value.
      impressions: Number of impressions of the version that has fewer.
    """

    other: int
    value: float
    interval: tuple[float, float]
    impressions: int


def served_metrics(impressions: pd.DataFrame, seed: int = 0) -> list[ServedMetrics]:
    """Returns the metrics of each arm and version, in that order.

    The bootstrap resamples users instead of impressions. The impressions of one user are alike, and
    intervals that treated them as independent would be too narrow.

    Args:
      impressions: Columns `arm`, `version`, `probability` (predicted), `clicked` (0 or 1) and
        `user_id`. Rows without a version or a probability are left out.
      seed: Seed of the bootstrap.
    """
    known = impressions.dropna(subset=["version", "probability"])
    known = known.sort_values(["arm", "version"], kind="stable")
    return [
        _metrics_of(str(rows["arm"].iloc[0]), int(rows["version"].iloc[0]), rows, seed)
        for _, rows in known.groupby(["arm", "version"], sort=False)
    ]


def entropy_increase(version: pd.DataFrame, other: pd.DataFrame, seed: int = 0) -> EntropyIncrease:
    """Returns the increase of normalized entropy from `other` to `version`.

    Args:
      version: Impressions of one version, as `served_metrics` takes them.
      other: Impressions of the other version.
      seed: Seed of the bootstrap.
    """
    names = {NORMALIZED_ENTROPY: _normalized_entropy}
    ours, theirs = _Bootstrap(version, seed), _Bootstrap(other, seed + 1)  # drawn independently
    replicates = ours.replicates(names)[NORMALIZED_ENTROPY]
    replicates = replicates / theirs.replicates(names)[NORMALIZED_ENTROPY] - 1
    value = ours.value(_normalized_entropy) / theirs.value(_normalized_entropy) - 1
    fewest = min(len(version), len(other))
    return EntropyIncrease(int(other["version"].iloc[0]), value, _interval(replicates), fewest)


def _metrics_of(arm: str, version: int, rows: pd.DataFrame, seed: int) -> ServedMetrics:
    sample = _Bootstrap(rows, seed)
    values = {name: sample.value(metric) for name, metric in _METRICS.items()}
    replicates = sample.replicates(_METRICS)
    intervals = {name: _interval(some) for name, some in replicates.items()}
    return ServedMetrics(arm, version, len(rows), sample.clicks, values, intervals)


class _Bootstrap:
    """Poisson bootstrap (Chamandy et al. 2012) over the users of a version's rows."""

    def __init__(self, rows: pd.DataFrame, seed: int):
        labels = rows["clicked"].to_numpy(np.int64)
        self.clicks = int(labels.sum())
        # Sorted by score, so that rows of equal score are adjacent and summed together.
        predictions = rows["probability"].to_numpy(np.float64)
        order = np.argsort(predictions, kind="stable")
        self._counts = ScoreCounts.count(labels, predictions)
        self._clicked = labels[order]
        self._starts = np.searchsorted(predictions[order], self._counts.score)
        self._users, whose = np.unique(rows["user_id"].to_numpy(str), return_inverse=True)
        self._whose = whose[order]
        self._chance = np.random.default_rng(seed)

    def value(self, metric: Metric) -> float:
        return float(metric(self._counts))

    def replicates(self, metrics: Mapping[str, Metric]) -> dict[str, np.ndarray]:
        found: dict[str, list[np.ndarray]] = {name: [] for name in metrics}
        for _ in range(0, _REPLICATES, _AT_ONCE):
            times = self._chance.poisson(1.0, (_AT_ONCE, len(self._users)))[:, self._whose]
            counts = dataclasses.replace(
                self._counts,
                positive=np.add.reduceat(times * self._clicked, self._starts, axis=1),
                negative=np.add.reduceat(times * (1 - self._clicked), self._starts, axis=1),
            )
            for name, metric in metrics.items():
                found[name].append(metric(counts))
        return {name: np.concatenate(some) for name, some in found.items()}


def _interval(replicates: np.ndarray) -> tuple[float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # if all are NaN, so is the interval
        low, high = np.nanquantile(replicates, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)


def _ctr(counts: ScoreCounts) -> np.ndarray:
    clicks, others = counts.positive.sum(axis=-1), counts.negative.sum(axis=-1)
    with np.errstate(invalid="ignore"):  # NaN if no user was drawn
        return np.asarray(clicks / (clicks + others))


def _normalized_entropy(counts: ScoreCounts) -> np.ndarray:
    """Returns the normalized entropy; NaN if all or none of the impressions were clicked."""
    mean = _ctr(counts)
    mean = np.where((mean > 0) & (mean < 1), mean, np.nan)
    constant = -(mean * np.log(mean) + (1 - mean) * np.log1p(-mean))
    return np.asarray(log_loss(counts) / constant)


_METRICS: Mapping[str, Metric] = {
    CTR: _ctr,
    AUC: auc,
    LOG_LOSS: log_loss,
    CALIBRATION: calibration,
    NORMALIZED_ENTROPY: _normalized_entropy,
}
