"""Removes repeated events, and finds the first click on each impression."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812

CLICK_MS = "click_ms"


def first_of_each(events: DataFrame, identity: str, time: str) -> tuple[DataFrame, DataFrame]:
    """Returns the first row of each id, and the repeated rows. A hash breaks ties in time."""
    order = Window.partitionBy(identity).orderBy(time, F.xxhash64(*sorted(events.columns)))
    numbered = events.withColumn("_number", F.row_number().over(order))
    first = numbered.where(F.col("_number") == 1).drop("_number")
    return first, numbered.where(F.col("_number") > 1).drop("_number")


def with_first_click(
    impressions: DataFrame, clicks: DataFrame, identity: str, time: str, window_ms: int
) -> DataFrame:
    """Adds CLICK_MS, the first click within the attribution window; null if there was none.

    Args:
      impressions: Impressions with `identity` and `time`.
      clicks: Clicks with CLICK_MS and the `identity` of the clicked impression.
      identity: Column with the id of an impression.
      time: Column with the time of an impression, in milliseconds.
      window_ms: Length of the attribution window after an impression, in milliseconds.
    """
    delay = F.col(CLICK_MS) - F.col(time)
    first = (
        clicks.join(impressions.select(identity, time), identity)
        .where(delay.between(0, window_ms))
        .groupBy(identity)
        .agg(F.min(CLICK_MS).alias(CLICK_MS))
    )
    return impressions.join(first, identity, "left")
