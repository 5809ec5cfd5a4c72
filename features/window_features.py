"""Window features: counts and rates, declared as data and computed point-in-time correct.

For an impression at time t in hour H and a window of w hours, they count the events of the same key
from the start of hour H - w up to t. An impression never sees itself, its own outcome, or anything
later. A click counts from its own timestamp, not from that of its impression.

A window ends exactly at t and starts at the beginning of an hour ("sawtooth windows", as in
Chronon). So hourly counts are all that must be kept of the past, whatever the length of the
windows. hourly_counts.py keeps them, and a batch over the whole log gives the same numbers.

A rate is smoothed towards the prior of all traffic (additive smoothing, as in empirical Bayes):

    rate = (clicks + strength * prior) / (impressions + strength)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F  # noqa: N812

from features.durations import HOUR_MS as HOUR_MS

# Columns of a history, which hourly_counts.py computes of the time before the log.
FEATURE, IMPRESSIONS, CLICKS = "feature", "impressions", "clicks"
_HOUR = "_hour"


@dataclasses.dataclass(frozen=True)
class WindowFeature:
    """Counts of impressions and clicks by key.

    Attributes:
      name: Prefix of the columns.
      keys: Columns that identify an entity.
      windows: Name -> length in whole hours.
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
    """Additive smoothing of rates.

    Attributes:
      prior: Rate of an entity without history.
      strength: Weight of the prior, as a number of impressions.
    """

    prior: float
    strength: float

    def rate(self, clicks: float, impressions: float) -> float:
        """Returns the smoothed rate of numbers, by the module's formula."""
        return (clicks + self.strength * self.prior) / (impressions + self.strength)


def add_window_features(
    impressions: DataFrame,
    identity: str,
    click_ms: str,
    features: Iterable[WindowFeature],
    smoothing: Smoothing,
    history: DataFrame | None = None,
) -> DataFrame:
    """Adds the count (long) and rate (double) columns of each feature.

    One pass over narrow rows counts all entities. The impressions themselves are joined once.

    Args:
      impressions: Impressions with `timestamp_ms`, the keys, and `click_ms`.
      identity: Column with a unique id of each impression.
      click_ms: Column with the time of the impression's click; null if there was none.
      features: Declared features.
      smoothing: Smoothing of the rates.
      history: Counts of earlier impressions with FEATURE, all keys, `timestamp_ms`, IMPRESSIONS and
        CLICKS; see hourly_counts.py.
    """
    features = list(features)
    keys = all_keys(features)
    events = by_entity(impressions, click_ms, features, identity)
    if history is not None:
        known = _known(history, impressions, features, keys)
        events = events.unionByName(known, allowMissingColumns=True)
    counted = _counted(events, keys, features).where(F.col(identity).isNotNull())
    # Without this shuffle, Spark would aggregate before its own shuffle, to almost no effect, in a
    # table that leaves the windows of that stage no memory (10M impressions, heap of 2 GiB).
    rows = counted.repartition(identity).groupBy(identity).agg(*_columns(features))
    rates = {
        f"{f.name}_ctr_{window}": _smoothed(f, window, smoothing)
        for f in features
        for window in f.windows
    }
    clicks = [f"{f.name}_clicks_{window}" for f in features for window in f.windows]
    return impressions.join(rows, identity).withColumns(rates).drop(*clicks)


def all_keys(features: Iterable[WindowFeature]) -> list[str]:
    """Returns the key columns of all features."""
    return sorted({key for feature in features for key in feature.keys})


def hour_of(time_ms: str) -> Column:
    """Returns the number of the hour since 1970 (UTC)."""
    return F.floor(F.col(time_ms) / HOUR_MS)


def by_entity(
    impressions: DataFrame, click_ms: str, features: Iterable[WindowFeature], *carried: str
) -> DataFrame:
    """Returns the events of each entity, which are impressions, and clicks at their own time.

    Args:
      impressions: Impressions with `timestamp_ms`, the keys, and `click_ms`.
      click_ms: Column with the time of the impression's click; null if there was none.
      features: Declared features.
      carried: Further columns of the impressions; null for clicks.

    Returns:
      One row per feature and event with FEATURE, all keys (null if the feature lacks the key),
      `timestamp_ms`, IMPRESSIONS and CLICKS (0 or 1), and the carried columns.
    """
    features = list(features)
    keys = all_keys(features)
    shown = impressions.select(
        *keys, "timestamp_ms", F.lit(1).alias(IMPRESSIONS), F.lit(0).alias(CLICKS), *carried
    )
    clicked = impressions.where(F.col(click_ms).isNotNull()).select(
        *keys,
        F.col(click_ms).alias("timestamp_ms"),
        F.lit(0).alias(IMPRESSIONS),
        F.lit(1).alias(CLICKS),
    )
    events = shown.unionByName(clicked, allowMissingColumns=True)
    entity = F.explode(_entities(features, keys)).alias("_entity")
    rest = ["timestamp_ms", IMPRESSIONS, CLICKS, *carried]
    return events.select(entity, *rest).select("_entity.*", *rest)


def _entities(features: list[WindowFeature], keys: list[str]) -> Column:
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


def _known(
    history: DataFrame, impressions: DataFrame, features: list[WindowFeature], keys: list[str]
) -> DataFrame:
    """Returns the history of the entities in the impressions. Its rows may count several events."""
    there = impressions.select(F.explode(_entities(features, keys)).alias("_entity"))
    entities = there.select("_entity.*").distinct()
    same = [history[column].eqNullSafe(entities[column]) for column in (FEATURE, *keys)]
    return history.join(entities, same, "left_semi").select(
        FEATURE, *keys, "timestamp_ms", IMPRESSIONS, CLICKS
    )


def _counted(events: DataFrame, keys: list[str], features: list[WindowFeature]) -> DataFrame:
    """Adds the sums of IMPRESSIONS and CLICKS over the windows before each event.

    The sum over a window is the sum of all before the event, minus the sum before the window. Such
    growing frames take one pass. A frame of the window's length would take a pass over the
    window for each row, which is quadratic for busy keys.
    """
    entity = Window.partitionBy(FEATURE, *keys)
    before = entity.orderBy("timestamp_ms").rangeBetween(Window.unboundedPreceding, -1)
    by_hour = entity.orderBy(_HOUR)
    sums = {}
    for hours in {hours for feature in features for hours in feature.windows.values()}:
        too_old = by_hour.rangeBetween(Window.unboundedPreceding, -hours - 1)
        for event in (IMPRESSIONS, CLICKS):
            sums[_sum(event, hours)] = _total(event, before) - _total(event, too_old)
    return events.withColumn(_HOUR, hour_of("timestamp_ms")).withColumns(sums)


def _total(event: str, frame: WindowSpec) -> Column:
    return F.coalesce(F.sum(event).over(frame), F.lit(0))


def _sum(event: str, hours: int) -> str:
    return f"_{event}_{hours}"


def _columns(features: list[WindowFeature]) -> list[Column]:
    """Returns aggregates that turn an impression's rows, one per feature, into columns."""
    return [
        F.max(F.when(F.col(FEATURE) == feature.name, F.col(_sum(event, hours)))).alias(
            f"{feature.name}_{event}_{window}"
        )
        for feature in features
        for event in (IMPRESSIONS, CLICKS)
        for window, hours in feature.windows.items()
    ]


def _smoothed(feature: WindowFeature, window: str, smoothing: Smoothing) -> Column:
    clicks = F.col(f"{feature.name}_clicks_{window}")
    shown = F.col(f"{feature.name}_impressions_{window}")
    weight = F.lit(float(smoothing.strength))
    return (clicks + weight * F.lit(float(smoothing.prior))) / (shown + weight)
