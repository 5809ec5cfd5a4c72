"""Features of a payment and its card's past, stated once for the ETL and for serving.

Each function takes Spark's columns with pyspark.sql.functions as `math`, or numbers with numpy, and
the function that chooses between two values: `where(condition, then, otherwise)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from base.durations import HOUR_MS

Where = Callable[[Any, Any, Any], Any]
_SMALLEST = 0.01  # the least amount of money


def time_features(time_ms: Any, math: Any) -> dict[str, Any]:
    """Returns the hour of the day (UTC) on a circle."""
    hour = math.floor(time_ms / HOUR_MS) % 24
    angle = hour * (2 * 3.141592653589793 / 24)
    return {"hour_sin": math.sin(angle), "hour_cos": math.cos(angle)}


def own_features(past: Mapping[str, Any], amount: Any, math: Any, where: Where) -> dict[str, Any]:
    """Returns the amount against the card's own in 30 days, and whether the device is new to it.

    Args:
      past: Columns `own_mean_cents`, `own_variance_cents`, `card_count_30d`,
        `card_device_count_24h` and `card_device_count_30d`.
      amount: Amount of the payment.
      math: pyspark.sql.functions or numpy.
      where: Function that chooses between two values.
    """
    known = past["card_count_30d"] > 0
    mean = where(known, past["own_mean_cents"] / 100, amount) + _SMALLEST
    # A card with one payment has no variance; a tenth of the mean stands in for what is not known.
    spread = math.sqrt(past["own_variance_cents"] / 10_000 + 0.01 * mean * mean)
    is_new = known & (past["card_device_count_24h"] == past["card_device_count_30d"])
    return {
        "amount_log_ratio": math.log((amount + _SMALLEST) / mean),
        "amount_deviation": (amount + _SMALLEST - mean) / spread,
        "new_device": where(is_new, 1, 0),
        "known_card": where(known, 1, 0),
    }
