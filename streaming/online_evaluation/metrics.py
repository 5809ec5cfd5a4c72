"""The metrics of each version on what it served, with confidence intervals."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from sklearn import metrics as sk

CTR, AUC, LOG_LOSS, CALIBRATION = "ctr", "auc", "log_loss", "calibration"
# Log loss over that of saying the mean CTR each time (He et al. 2014): comparable between versions
# and hours of different CTR, and above 1 a model knows less than its mean.
NORMALIZED_ENTROPY = "normalized_entropy"
_REPLICATES = 200
_LEVEL = 0.95

Weighted = Callable[[np.ndarray, np.ndarray, np.ndarray], float]  # labels, predictions, weights


@dataclasses.dataclass(frozen=True)
class Served:
    """What a version did.

    Attributes:
      arm: label that users asked for.
      version: of the model.
      impressions, clicks: counts.
      values: metric -> value; NaN where it says nothing (AUC of one class).
      intervals: metric -> (low, high), 95 %.
    """

    arm: str
    version: int
    impressions: int
    clicks: int
    values: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Increase:
    """How much larger a version's normalized entropy is than another's.

    Attributes:
      other: the other version.
      value: as a share: 0.1 is a tenth more.
      interval: (low, high), 95 %.
      impressions: of the one that has fewer.
    """

    other: int
    value: float
    interval: tuple[float, float]
    impressions: int


def served(impressions: pd.DataFrame, seed: int = 0) -> list[Served]:
    """Metrics by arm and version.

    Args:
      impressions: `arm`, `version`, `probability` (as the model had it), `clicked` (0 or 1) and
        `user_id`; rows without a version (ranked by no model) or probability are left out.
      seed: of the bootstrap.

    Returns:
      One for each, by arm and version. Users are resampled, not impressions: those of one user are
      alike, and intervals that take them for independent would be too narrow.
    """
    known = impressions.dropna(subset=["version", "probability"])
    known = known.sort_values(["arm", "version"], kind="stable")
    return [
        _of(str(rows["arm"].iloc[0]), int(rows["version"].iloc[0]), rows, seed)
        for _, rows in known.groupby(["arm", "version"], sort=False)
    ]


def increase(version: pd.DataFrame, other: pd.DataFrame, seed: int = 0) -> Increase:
    """Of the normalized entropy; each has one version's rows, as `served` takes them."""
    names = {NORMALIZED_ENTROPY: _normalized_entropy}
    ours, theirs = _Bootstrap(version, seed), _Bootstrap(other, seed + 1)  # their users are others
    replicates = ours.replicates(names)[NORMALIZED_ENTROPY]
    replicates = replicates / theirs.replicates(names)[NORMALIZED_ENTROPY] - 1
    value = ours.value(_normalized_entropy) / theirs.value(_normalized_entropy) - 1
    fewest = min(len(version), len(other))
    return Increase(int(other["version"].iloc[0]), value, _interval(replicates), fewest)


def _of(arm: str, version: int, rows: pd.DataFrame, seed: int) -> Served:
    sample = _Bootstrap(rows, seed)
    values = {name: sample.value(metric) for name, metric in _METRICS.items()}
    replicates = sample.replicates(_METRICS)
    intervals = {name: _interval(some) for name, some in replicates.items()}
    return Served(arm, version, len(rows), int(sample.labels.sum()), values, intervals)


class _Bootstrap:
    """Poisson bootstrap (Chamandy et al. 2012) of a version's rows: each user counts so often."""

    def __init__(self, rows: pd.DataFrame, seed: int):
        self.labels = rows["clicked"].to_numpy(np.int64)
        self._predictions = rows["probability"].to_numpy(np.float64)
        self._users, self._whose = np.unique(rows["user_id"].to_numpy(str), return_inverse=True)
        self._chance = np.random.default_rng(seed)

    def value(self, metric: Weighted) -> float:
        return metric(self.labels, self._predictions, np.ones(len(self.labels)))

    def replicates(self, metrics: Mapping[str, Weighted]) -> dict[str, np.ndarray]:
        found: dict[str, list[float]] = {name: [] for name in metrics}
        for _ in range(_REPLICATES):
            weights = self._chance.poisson(1.0, len(self._users))[self._whose]
            for name, metric in metrics.items():
                found[name].append(metric(self.labels, self._predictions, weights))
        return {name: np.array(some) for name, some in found.items()}


def _interval(replicates: np.ndarray) -> tuple[float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all of them NaN: so is the interval
        low, high = np.nanquantile(replicates, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)


def _ctr(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> float:
    return float(np.average(labels, weights=weights)) if weights.any() else np.nan


def _auc(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> float:
    if not 0 < (labels * weights).sum() < weights.sum():
        return np.nan
    return float(sk.roc_auc_score(labels, predictions, sample_weight=weights))


def _log_loss(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> float:
    if not weights.any():
        return np.nan
    return float(sk.log_loss(labels, predictions, sample_weight=weights, labels=[0, 1]))


def _calibration(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> float:
    """Mean prediction over mean label, as TFMA's Calibration."""
    clicks = (labels * weights).sum()
    return float((predictions * weights).sum() / clicks) if clicks else np.nan


def _normalized_entropy(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> float:
    mean = _ctr(labels, predictions, weights)
    if not 0 < mean < 1:
        return np.nan
    constant = _log_loss(labels, np.full(len(labels), mean), weights)
    return _log_loss(labels, predictions, weights) / constant


_METRICS: Mapping[str, Weighted] = {
    CTR: _ctr,
    AUC: _auc,
    LOG_LOSS: _log_loss,
    CALIBRATION: _calibration,
    NORMALIZED_ENTROPY: _normalized_entropy,
}
