"""The metrics of each version on what it served, with confidence intervals."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from sklearn import metrics as sk

CTR, AUC, LOG_LOSS, CALIBRATION = "ctr", "auc", "log_loss", "calibration"
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


def _of(arm: str, version: int, rows: pd.DataFrame, seed: int) -> Served:
    labels = rows["clicked"].to_numpy(np.int64)
    predictions = rows["probability"].to_numpy(np.float64).clip(1e-7, 1 - 1e-7)
    users, whose = np.unique(rows["user_id"].to_numpy(str), return_inverse=True)
    chance = np.random.default_rng(seed)
    # Poisson bootstrap (Chamandy et al. 2012): each user counts so many times.
    replicates: dict[str, list[float]] = {name: [] for name in _METRICS}
    for _ in range(_REPLICATES):
        weights = chance.poisson(1.0, len(users))[whose]
        for name, metric in _METRICS.items():
            replicates[name].append(metric(labels, predictions, weights))
    values, intervals = {}, {}
    for name, metric in _METRICS.items():
        values[name] = metric(labels, predictions, np.ones(len(labels)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # all of them NaN: so is the interval
            low, high = np.nanquantile(replicates[name], [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
        intervals[name] = (float(low), float(high))
    return Served(arm, version, len(labels), int(labels.sum()), values, intervals)


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


_METRICS: Mapping[str, Weighted] = {
    CTR: _ctr,
    AUC: _auc,
    LOG_LOSS: _log_loss,
    CALIBRATION: _calibration,
}
