"""Computes the counts of an hour by entity, which the features of later hours are made from.

Each hour has one compact table, which is written when the hour is complete and never changed. The
window features of a later hour, and the online table, follow from the tables within the longest
window. So everything is counted once and in one way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from features.recent_clicks import RecentClicks
from features.window_features import (
    CLICKS,
    FEATURE,
    HOUR_MS,
    IMPRESSIONS,
    WindowFeature,
    all_keys,
    by_entity,
    hour_of,
)

COUNTS, RECENT = "counts", "recent_clicks"  # the tables, and the sources that read them


@dataclasses.dataclass(frozen=True)
class PastFeatures:
    """The features of past events that an application declares in its hour_tables.py."""

    windows: tuple[WindowFeature, ...]
    recent: RecentClicks


def hourly_counts(
    impressions: DataFrame, click_ms: str, features: Iterable[WindowFeature]
) -> DataFrame:
    """Counts the impressions and clicks of each entity by hour.

    Args:
      impressions: Impressions of whole hours with `timestamp_ms`, the keys, and `click_ms`.
      click_ms: Column with the time of the impression's click; null if there was none.
      features: Declared features.

    Returns:
      FEATURE, all keys (null if the feature lacks the key), `timestamp_ms`, IMPRESSIONS and CLICKS.
      The timestamp is the start of the hour, but the exact time of clicks in a later hour than
      their impression, because the features of that hour need it.
    """
    features = list(features)
    same_hour = hour_of(click_ms) == hour_of("timestamp_ms")
    by_hour = impressions.withColumns(
        {
            "timestamp_ms": _hour_begin("timestamp_ms"),
            click_ms: F.when(same_hour, _hour_begin(click_ms)).otherwise(F.col(click_ms)),
        }
    )
    events = by_entity(by_hour, click_ms, features)
    return events.groupBy(FEATURE, *all_keys(features), "timestamp_ms").agg(
        F.sum(IMPRESSIONS).alias(IMPRESSIONS), F.sum(CLICKS).alias(CLICKS)
    )


def _hour_begin(time_ms: str) -> Column:
    return (hour_of(time_ms) * HOUR_MS).cast("bigint")
