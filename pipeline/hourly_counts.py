"""What later hours need to know of an hour: its counts by entity, and its clicks.

A compact table an hour, written once when the hour is complete and never changed. The window
features of any later hour follow from the tables of the hours within its longest window, and so
does the table that serving looks into: nothing is ever counted twice, or in two ways.
"""

from __future__ import annotations

from collections.abc import Iterable

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from pipeline.window_features import (
    CLICKS,
    HOUR_MS,
    IMPRESSIONS,
    WindowFeature,
    all_keys,
    entities,
    hour_of,
)

COUNTS, RECENT = "counts", "recent_clicks"  # the tables, and the sources that read them
_ENTITY = "_entity"


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
    keys = all_keys(features)
    shown = impressions.select(
        *keys,
        _hour_begin("timestamp_ms").alias("timestamp_ms"),
        F.lit(1).alias(IMPRESSIONS),
        F.lit(0).alias(CLICKS),
    )
    same_hour = hour_of(click_ms) == hour_of("timestamp_ms")
    when = F.when(same_hour, _hour_begin(click_ms)).otherwise(F.col(click_ms))
    clicked = impressions.where(F.col(click_ms).isNotNull()).select(
        *keys,
        when.alias("timestamp_ms"),
        F.lit(0).alias(IMPRESSIONS),
        F.lit(1).alias(CLICKS),
    )
    events = shown.unionByName(clicked).withColumn(_ENTITY, F.explode(entities(features)))
    counted = events.groupBy(_ENTITY, "timestamp_ms").agg(
        F.sum(IMPRESSIONS).cast("bigint").alias(IMPRESSIONS),
        F.sum(CLICKS).cast("bigint").alias(CLICKS),
    )
    return counted.select(f"{_ENTITY}.*", "timestamp_ms", IMPRESSIONS, CLICKS)


def _hour_begin(time_ms: str) -> Column:
    return (hour_of(time_ms) * HOUR_MS).cast("bigint")
