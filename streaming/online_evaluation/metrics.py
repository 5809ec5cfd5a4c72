"""The metrics of each version on what it served, with confidence intervals."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from tabular.metrics.classification import auc, calibration, log_loss
from tabular.metrics.scores import ScoreCounts

CTR, AUC, LOG_LOSS, CALIBRATION = "ctr", "auc", "log_loss", "calibration"
# Log loss over that of saying the mean CTR each time (He et al. 2014): comparable between versions
# and hours of different CTR, and above 1 a model knows less than its mean.
NORMALIZED_ENTROPY = "normalized_entropy"
_REPLICATES = 200
_AT_ONCE = 20  # replicates, which take some 100 numbers for each row
_LEVEL = 0.95

Metric = Callable[[ScoreCounts], np.ndarray]


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
    return Served(arm, version, len(rows), sample.clicks, values, intervals)


class _Bootstrap:
    """Poisson bootstrap (Chamandy et al. 2012) of a version's rows: each user counts so often."""

    def __init__(self, rows: pd.DataFrame, seed: int):
        labels = rows["clicked"].to_numpy(np.int64)
        self.clicks = int(labels.sum())
        # In the order of the scores, so that those of equal score are added up at once.
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
        warnings.simplefilter("ignore", RuntimeWarning)  # all of them NaN: so is the interval
        low, high = np.nanquantile(replicates, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)


def _ctr(counts: ScoreCounts) -> np.ndarray:
    clicks, others = counts.positive.sum(axis=-1), counts.negative.sum(axis=-1)
    with np.errstate(invalid="ignore"):  # no user was drawn: NaN
        return np.asarray(clicks / (clicks + others))


def _normalized_entropy(counts: ScoreCounts) -> np.ndarray:
    """NaN where all clicked, or nobody did."""
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
