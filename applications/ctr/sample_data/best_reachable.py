"""Computes the AUC and log loss of the true probabilities in one pass over the log."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_BINS = 1 << 16
_LOGIT_RANGE = (-14.0, 8.0)


class BestReachable:
    """Adds up labels by true probability, in constant memory.

    For the AUC, probabilities are counted in 65,536 bins of the logit. A bin counts as a tie, so
    the error is below 1e-5.
    """

    def __init__(self) -> None:
        self._clicked = np.zeros(_BINS, dtype=np.int64)
        self._other = np.zeros(_BINS, dtype=np.int64)
        self._loss = 0.0
        self._probability = 0.0

    def add(self, label: npt.NDArray[np.bool_], probability: npt.NDArray[np.float64]) -> None:
        """Adds impressions; both arrays have shape [n]."""
        low, high = _LOGIT_RANGE
        logit = np.log(probability) - np.log1p(-probability)
        place = np.clip((logit - low) / (high - low) * _BINS, 0, _BINS - 1).astype(np.int64)
        self._clicked += np.bincount(place[label], minlength=_BINS)
        self._other += np.bincount(place[~label], minlength=_BINS)
        self._loss -= float(np.where(label, np.log(probability), np.log1p(-probability)).sum())
        self._probability += float(probability.sum())

    def figures(self) -> dict[str, float | None]:
        """Returns auc (None unless both labels occur), log_loss, ctr and mean_probability."""
        clicked, other = int(self._clicked.sum()), int(self._other.sum())
        below = np.cumsum(self._other) - self._other
        pairs = float((self._clicked * (below + 0.5 * self._other)).sum())
        return {
            "auc": pairs / (clicked * other) if clicked and other else None,
            "log_loss": self._loss / (clicked + other),
            "ctr": clicked / (clicked + other),
            "mean_probability": self._probability / (clicked + other),
        }
