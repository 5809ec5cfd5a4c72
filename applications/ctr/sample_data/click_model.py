"""The true click probability: constants and vectorised formulas, as README.md describes."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

HOUR_MS = 3_600_000

DEVICES = ("mobile", "desktop", "tablet")
SURFACES = ("home", "search", "category")
GENDERS = ("f", "m", "x")
MEMBERSHIPS = ("none", "silver", "gold")
AGE_BAND_STARTS = (25, 35, 45, 55)
SEGMENTS = (len(AGE_BAND_STARTS) + 1) * len(GENDERS)
PAGE_SIZE = 10
MAX_PAGES = 3


@dataclass(frozen=True)
class ClickModel:
    """Coefficients on the logit scale; `*_sd` are standard deviations of normal effects.

    They are chosen so that about one impression in ten is clicked, the best reachable AUC is about
    0.79, and most of the variance is observable in the log, `users` and `items`.
    """

    base: float = -1.88
    category_sd: float = 0.35
    item_sd: float = 0.28
    drift_sd: float = 0.15
    drift_hours: float = 48.0
    segment_category_sd: float = 0.80
    user_sd: float = 0.10
    user_category_sd: float = 0.10
    user_brand_sd: float = 0.06
    price: tuple[float, float, float] = (-0.40, -0.15, 0.15)
    position: float = -0.80
    device: tuple[float, float, float] = (0.0, 0.35, -0.25)
    hour_of_day: float = 0.30
    hour_of_day_peak: float = 21.0
    same_category_clicked: float = 0.80
    same_category_hours: float = 3.0
    same_item_seen: float = -0.25
    same_item_hours: float = 24.0
    attribution_window_minutes: float = 30.0
    lost_clicks: float = 0.01
    late_clicks: float = 0.01

    @property
    def attributed_share(self) -> float:
        """Share of clicks that reach the log within the attribution window."""
        return (1.0 - self.lost_clicks) * (1.0 - self.late_clicks)

    def position_effect(self, position: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Returns the position bias, which falls with the logarithm of the position (from 1)."""
        return self.position * np.log(position.astype(np.float64))

    def hour_effect(self, hour_of_day: int) -> float:
        """Returns the effect of the hour of day (0..23, UTC), a cosine with an evening peak."""
        turn = (hour_of_day - self.hour_of_day_peak) / 24.0
        return self.hour_of_day * float(np.cos(2.0 * np.pi * turn))


def sigmoid(logit: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns 1 / (1 + exp(-logit)), element by element."""
    return 1.0 / (1.0 + np.exp(-logit))


_NORMAL_QUANTILES = np.array(
    [NormalDist().inv_cdf((index + 0.5) / 4096) for index in range(4096)], dtype=np.float32
)


def persistent_normal(
    user: npt.NDArray[np.int64], key: npt.NDArray[np.int64], salt: int
) -> npt.NDArray[np.float32]:
    """Returns a standard normal value for each (user, key), the same at every call.

    A table of users x categories would take gigabytes for millions of users. Instead, a hash
    (splitmix64's finalizer, Steele et al. 2014) selects one of the normal quantiles.

    Args:
      user: User indices of any shape.
      key: Category or brand indices, broadcastable against `user`.
      salt: Number that separates one family of values from another.
    """
    mixed = user.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = mixed + key.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed = mixed + np.uint64(salt * 0x165667B19E3779F9 % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed = mixed ^ (mixed >> np.uint64(31))
    return _NORMAL_QUANTILES[(mixed >> np.uint64(52)).astype(np.int64)]
