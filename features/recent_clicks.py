"""Recent clicks: the last clicks of an entity before each impression, point-in-time correct.

They are the behaviour sequence of sequence models such as DIN, with one list per column, the most
recent click first, and the hours since each click. As in window features, an impression at time t
in hour H sees the clicks between the start of hour H - w and t, on any impression.
"""

from __future__ import annotations

import dataclasses

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812

from features.window_features import HOUR_MS, hour_of

_CLICK, _NUMBER, _LAST, _MS = "_is_click", "_number", "_last", "_ms"


@dataclasses.dataclass(frozen=True)
class RecentClicks:
    """The last clicks by key.

    Attributes:
      name: Prefix of the columns.
      keys: Columns that identify an entity.
      columns: Columns of the clicked impression; each becomes the list column NAME_COLUMN.
      length: Largest number of clicks; shorter lists are not padded.
      hours: Length of the window in hours (w).
    """

    name: str
    keys: tuple[str, ...]
    columns: tuple[str, ...]
    length: int
    hours: int

    def list_columns(self) -> list[str]:
        return [f"{self.name}_{column}" for column in self.columns]

    def hours_column(self) -> str:
        return f"{self.name}_hours"


def add_recent_clicks(
    impressions: DataFrame,
    click_ms: str,
    feature: RecentClicks,
    history: DataFrame | None = None,
) -> DataFrame:
    """Adds the list columns (arrays of the column's type) and the hours since (array of float).

    Args:
      impressions: Impressions with `timestamp_ms`, the keys, the columns, and `click_ms`.
      click_ms: Column with the time of the impression's click; null if there was none.
      feature: Declared feature.
      history: Result of `clicks_of` for earlier impressions.
    """
    happened = clicks_of(impressions, click_ms, feature)
    if history is not None:
        there = impressions.select(*feature.keys).distinct()
        earlier = history.join(there, list(feature.keys), "left_semi")
        happened = happened.unionByName(earlier.select(*happened.columns))
    clicks = _with_lists(happened, feature)
    shown = impressions.withColumns({_CLICK: F.lit(0), _NUMBER: F.lit(0)})
    events = shown.unionByName(clicks, allowMissingColumns=True)
    # A click at the same time as an impression comes after it, so the impression does not see it.
    before = (
        Window.partitionBy(*feature.keys)
        .orderBy("timestamp_ms", _CLICK, _NUMBER)
        .rowsBetween(Window.unboundedPreceding, -1)
    )
    seen = events.withColumn(_LAST, F.last(_LAST, ignorenulls=True).over(before))
    rows = seen.where(F.col(_CLICK) == 0)
    nothing = F.array().cast(clicks.schema[_LAST].dataType)
    first_ms = (hour_of("timestamp_ms") - feature.hours) * HOUR_MS
    known = F.filter(F.coalesce(F.col(_LAST), nothing), lambda click: click[_MS] >= first_ms)
    recent = F.reverse(known)
    return rows.withColumns(_lists(recent, feature)).drop(_CLICK, _NUMBER, _LAST)


def clicks_of(impressions: DataFrame, click_ms: str, feature: RecentClicks) -> DataFrame:
    """Returns one row per click at its own `timestamp_ms`, with the keys and the columns."""
    names = dict.fromkeys((*feature.keys, *feature.columns))
    return impressions.where(F.col(click_ms).isNotNull()).select(
        *names, F.col(click_ms).alias("timestamp_ms")
    )


def _with_lists(happened: DataFrame, feature: RecentClicks) -> DataFrame:
    """Returns one row per click with the click and those before it as structs.

    The window frame has `length` rows. Collecting all clicks of a key for each of them would be
    quadratic for busy keys.
    """
    entry = F.struct(F.col("timestamp_ms").alias(_MS), *feature.columns)
    clicks = happened.select(*feature.keys, "timestamp_ms", entry.alias("_entry"))
    # The order uses all columns, so clicks that tie are equal and their order is irrelevant.
    by_time = Window.partitionBy(*feature.keys).orderBy("_entry")
    last = F.collect_list("_entry").over(by_time.rowsBetween(1 - feature.length, 0))
    return clicks.withColumns(
        {_LAST: last, _NUMBER: F.row_number().over(by_time), _CLICK: F.lit(1)}
    ).drop("_entry")


def _lists(recent: Column, feature: RecentClicks) -> dict[str, Column]:
    # A field of an array of structs is the array of that field.
    lists = {f"{feature.name}_{column}": recent[column] for column in feature.columns}
    hours = F.transform(
        recent, lambda click: ((F.col("timestamp_ms") - click[_MS]) / HOUR_MS).cast("float")
    )
    return {**lists, feature.hours_column(): hours}
