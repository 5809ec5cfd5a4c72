"""What later hours need to know of an hour: its counts by entity, and its clicks.

A compact table an hour, written once when the hour is complete and never changed. The window
features of any later hour follow from the tables of the hours within its longest window, and so
does the table that serving looks into: nothing is ever counted twice, or in two ways.
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
class Declared:
    """The features of the past that an application has; its hour_tables.py says so."""

    windows: tuple[WindowFeature, ...]
    recent: RecentClicks


def hourly_counts(
    impressions: DataFrame, click_ms: str, features: Iterable[WindowFeature]
) -> DataFrame:
    """How often each entity was shown, and clicked, by the hour in which it happened.

    Args:
      impressions: of whole hours, one row an impression: `timestamp_ms`, the keys, and `click_ms`.
      click_ms: column with the time of the impression's click, null if there was none.
      features: the declarations.

    Returns:
      FEATURE, all keys (null where the feature has none), `timestamp_ms` (the begin of the hour; of
      clicks in a later hour than their impression the very moment, for that hour's features
      need it), IMPRESSIONS and CLICKS.
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
