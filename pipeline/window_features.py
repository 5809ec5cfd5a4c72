"""Window features: declared as data, computed point in time correct.

For an impression at time t in hour H, and a window of w hours, the events of the same key from the
begin of hour H - w up to t are counted; an impression never sees itself, its own outcome, or
anything later. A click counts from the moment it happened, not from the moment of the impression it
belongs to.

The near end of a window is exact, its far end is the begin of an hour ("sawtooth windows", as in
Chronon): all that has to be known of the past is a count by the hour, however long the windows are.
That is what hourly_counts.py keeps, and a batch over the whole log gives the same numbers without.

A rate is smoothed towards the prior of all traffic (additive smoothing, as in empirical Bayes):

    rate = (clicks + strength * prior) / (impressions + strength)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from functools import reduce

from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F  # noqa: N812

HOUR_MS = 3_600_000
# Columns of a history: what happened before the log begins, by hourly_counts.py.
FEATURE, IMPRESSIONS, CLICKS = "feature", "impressions", "clicks"
_IMPRESSION, _CLICK, _HOUR, _BEFORE = "_is_impression", "_is_click", "_hour", "_is_before"


@dataclasses.dataclass(frozen=True)
class WindowFeature:
    """Counts of impressions and clicks by key.

    Attributes:
      name: prefix of the columns.
      keys: columns that make an entity.
      windows: name -> length in whole hours.
    """

    name: str
    keys: tuple[str, ...]
    windows: Mapping[str, int]

    def count_columns(self) -> list[str]:
        return [f"{self.name}_impressions_{window}" for window in self.windows]

    def rate_columns(self) -> list[str]:
        return [f"{self.name}_ctr_{window}" for window in self.windows]


@dataclasses.dataclass(frozen=True)
class Smoothing:
    """Attributes:
    prior: rate that an entity without history is given.
    strength: number of impressions the prior weighs.
    """

    prior: float
    strength: float

    def rate(self, clicks: float, impressions: float) -> float:
        """The smoothed rate, of numbers; see the module."""
        return (clicks + self.strength * self.prior) / (impressions + self.strength)


def add_window_features(
    impressions: DataFrame,
    click_ms: str,
    features: Iterable[WindowFeature],
    smoothing: Smoothing,
    history: DataFrame | None = None,
) -> DataFrame:
    """Adds the count (long) and rate (double) columns of each feature.

    Args:
      impressions: one row an impression: `timestamp_ms`, the keys, and `click_ms`.
      click_ms: column with the time of the impression's click, null if there was none.
      features: the declarations.
      smoothing: for the rates.
      history: of the impressions before these: FEATURE, its keys, `timestamp_ms`, IMPRESSIONS and
        CLICKS; see hourly_counts.py.
    """
    features = list(features)
    keys = all_keys(features)
    events = _events(impressions, click_ms, keys)
    known = None
    if history is not None:  # read for each feature, so kept
        known = _known(history, impressions, features, keys).persist(StorageLevel.DISK_ONLY)
    counted = reduce(lambda frame, feature: _count(frame, feature, known), features, events)
    rows = counted.where(F.col(_IMPRESSION) == 1)
    rates = {
        f"{f.name}_ctr_{window}": _smoothed(f, window, smoothing)
        for f in features
        for window in f.windows
    }
    clicks = [f"{f.name}_clicks_{window}" for f in features for window in f.windows]
    return rows.withColumns(rates).drop(_IMPRESSION, _CLICK, _HOUR, *clicks)


def all_keys(features: Iterable[WindowFeature]) -> list[str]:
    """The columns that identify the entities of all of them."""
    return sorted({key for feature in features for key in feature.keys})


def hour_of(time_ms: str) -> Column:
    """The number of the hour since 1970 (UTC)."""
    return F.floor(F.col(time_ms) / HOUR_MS)


def entities(features: Iterable[WindowFeature]) -> Column:
    """An array with the entity of a row for each feature: FEATURE, and all keys (null where the
    feature has none).
    """
    features = list(features)
    keys = all_keys(features)
    nothing = F.lit(None).cast("string")
    return F.array(
        *[
            F.struct(
                F.lit(feature.name).alias(FEATURE),
                *[(F.col(k) if k in feature.keys else nothing).alias(k) for k in keys],
            )
            for feature in features
        ]
    )


def _events(impressions: DataFrame, click_ms: str, keys: list[str]) -> DataFrame:
    """Impressions with all their columns, and clicks as events of their own at their own time."""
    shown = impressions.withColumns({_IMPRESSION: F.lit(1), _CLICK: F.lit(0)})
    clicked = impressions.where(F.col(click_ms).isNotNull()).select(
        F.col(click_ms).alias("timestamp_ms"),
        *keys,
        F.lit(0).alias(_IMPRESSION),
        F.lit(1).alias(_CLICK),
    )
    events = shown.unionByName(clicked, allowMissingColumns=True)
    return events.withColumn(_HOUR, hour_of("timestamp_ms"))


def _count(events: DataFrame, feature: WindowFeature, known: DataFrame | None) -> DataFrame:
    if known is not None:
        before = known.where(F.col(FEATURE) == feature.name).select(
            *feature.keys, "timestamp_ms", _HOUR, _IMPRESSION, _CLICK, F.lit(True).alias(_BEFORE)
        )
        together = events.withColumn(_BEFORE, F.lit(False)).unionByName(
            before, allowMissingColumns=True
        )
        return _count(together, feature, None).where(~F.col(_BEFORE)).drop(_BEFORE)
    columns = {}
    for window, hours in feature.windows.items():
        columns[f"{feature.name}_impressions_{window}"] = _within(_IMPRESSION, feature.keys, hours)
        columns[f"{feature.name}_clicks_{window}"] = _within(_CLICK, feature.keys, hours)
    return events.withColumns(columns)


def _known(
    history: DataFrame, impressions: DataFrame, features: list[WindowFeature], keys: list[str]
) -> DataFrame:
    """The history of the entities that come up, as events that count more than once."""
    there = impressions.select(F.explode(entities(features)).alias("entity")).select("entity.*")
    same = [history[column].eqNullSafe(there[column]) for column in (FEATURE, *keys)]
    return history.join(there.distinct(), same, "left_semi").select(
        FEATURE,
        *keys,
        "timestamp_ms",
        hour_of("timestamp_ms").alias(_HOUR),
        F.col(IMPRESSIONS).alias(_IMPRESSION),
        F.col(CLICKS).alias(_CLICK),
    )


def _within(event: str, keys: tuple[str, ...], hours: int) -> Column:
    """Sum of `event` from the begin of the hour so many hours back up to, without, this moment:
    everything before now, less everything in hours further back.

    Two frames that only grow cost one pass; a frame of a window's length costs a pass over the
    window for each row, quadratic for busy keys.
    """
    entity = Window.partitionBy(*keys)
    before = entity.orderBy("timestamp_ms").rangeBetween(Window.unboundedPreceding, -1)
    too_old = entity.orderBy(_HOUR).rangeBetween(Window.unboundedPreceding, -hours - 1)
    return _total(event, before) - _total(event, too_old)


def _total(event: str, frame: WindowSpec) -> Column:
    return F.coalesce(F.sum(event).over(frame), F.lit(0))


def _smoothed(feature: WindowFeature, window: str, smoothing: Smoothing) -> Column:
    clicks = F.col(f"{feature.name}_clicks_{window}")
    shown = F.col(f"{feature.name}_impressions_{window}")
    weight = F.lit(float(smoothing.strength))
    return (clicks + weight * F.lit(float(smoothing.prior))) / (shown + weight)
