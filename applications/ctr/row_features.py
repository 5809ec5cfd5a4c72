"""Features of a row's own values, stated once for the ETL and for serving.

Each function takes Spark's columns with pyspark.sql.functions as `math`, or numbers with numpy.
"""

from __future__ import annotations

from typing import Any

from base.durations import HOUR_MS


def time_features(time_ms: Any, math: Any) -> dict[str, Any]:
    """Returns hour and weekday (UTC; Monday is 0), and the hour on a circle."""
    hour = math.floor(time_ms / HOUR_MS) % 24
    angle = hour * (2 * 3.141592653589793 / 24)
    return {
        "hour_of_day": hour,
        "day_of_week": (math.floor(time_ms / (24 * HOUR_MS)) + 3) % 7,  # 1970-01-01: a Thursday
        "hour_sin": math.sin(angle),
        "hour_cos": math.cos(angle),
    }


def item_age_hours(time_ms: Any, listed_ms: Any, math: Any) -> Any:
    """Returns the hours since an item was listed; 0 if that is later."""
    age = time_ms - listed_ms
    return (age + math.abs(age)) / (2 * HOUR_MS)  # numpy and Spark name `maximum` differently


def is_known(impressions: Any) -> Any:
    """Returns whether a user was seen in the longest window."""
    return impressions > 0
