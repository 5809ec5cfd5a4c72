"""Window features: declared as data, computed point in time correct.

For an impression at time t and a window w the events in [t - w, t) of the same key are counted; an
impression never sees itself, its own outcome, or anything later. A click counts from the moment it
happened, not from the moment of the impression it belongs to.

A rate is smoothed towards the prior of all traffic (additive smoothing, as in empirical Bayes):

    rate = (clicks + strength * prior) / (impressions + strength)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from functools import reduce

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F  # noqa: N812

_IMPRESSION, _CLICK = "_is_impression", "_is_click"


@dataclasses.dataclass(frozen=True)
class WindowFeature:
    """Counts of impressions and clicks by key.

    Attributes:
      name: prefix of the columns.
      keys: columns that make an entity.
      windows_ms: name -> length in milliseconds.
    """

    name: str
    keys: tuple[str, ...]
    windows_ms: Mapping[str, int]

    def count_columns(self) -> list[str]:
        return [f"{self.name}_impressions_{window}" for window in self.windows_ms]

    def rate_columns(self) -> list[str]:
        return [f"{self.name}_ctr_{window}" for window in self.windows_ms]


@dataclasses.dataclass(frozen=True)
class Smoothing:
    """Attributes:
    prior: rate that an entity without history is given.
    strength: number of impressions the prior weighs.
    """

    prior: float
    strength: float


def add_window_features(
    impressions: DataFrame,
    click_ms: str,
    features: Iterable[WindowFeature],
    smoothing: Smoothing,
) -> DataFrame:
    """Adds the count (long) and rate (double) columns of each feature.

    Args:
      impressions: one row an impression: `timestamp_ms`, the keys, and `click_ms`.
      click_ms: column with the time of the impression's click, null if there was none.
      features: the declarations.
      smoothing: for the rates.
    """
    features = list(features)
    keys = sorted({key for feature in features for key in feature.keys})
    events = _events(impressions, click_ms, keys)
    counted = reduce(lambda frame, feature: _count(frame, feature), features, events)
    rows = counted.where(F.col(_IMPRESSION) == 1)
    rates = {
        f"{f.name}_ctr_{window}": _smoothed(f, window, smoothing)
        for f in features
        for window in f.windows_ms
    }
    clicks = [f"{f.name}_clicks_{window}" for f in features for window in f.windows_ms]
    return rows.withColumns(rates).drop(_IMPRESSION, _CLICK, *clicks)


def _events(impressions: DataFrame, click_ms: str, keys: list[str]) -> DataFrame:
    """Impressions with all their columns, and clicks as events of their own at their own time."""
    shown = impressions.withColumns({_IMPRESSION: F.lit(1), _CLICK: F.lit(0)})
    clicked = impressions.where(F.col(click_ms).isNotNull()).select(
        F.col(click_ms).alias("timestamp_ms"),
        *keys,
        F.lit(0).alias(_IMPRESSION),
        F.lit(1).alias(_CLICK),
    )
    return shown.unionByName(clicked, allowMissingColumns=True)


def _count(events: DataFrame, feature: WindowFeature) -> DataFrame:
    by_time = Window.partitionBy(*feature.keys).orderBy("timestamp_ms")
    columns = {}
    for window, length in feature.windows_ms.items():
        columns[f"{feature.name}_impressions_{window}"] = _within(_IMPRESSION, by_time, length)
        columns[f"{feature.name}_clicks_{window}"] = _within(_CLICK, by_time, length)
    return events.withColumns(columns)


def _within(event: str, by_time: WindowSpec, length_ms: int) -> Column:
    """Sum of `event` over [t - length, t): everything before t, less everything before t - length.

    Two frames that only grow cost one pass; the frame rangeBetween(-length, -1) costs a pass over
    the window for each row, quadratic for busy keys.
    """
    before = by_time.rangeBetween(Window.unboundedPreceding, -1)
    too_old = by_time.rangeBetween(Window.unboundedPreceding, -length_ms - 1)

    def total(frame: WindowSpec) -> Column:
        return F.coalesce(F.sum(event).over(frame), F.lit(0))

    return total(before) - total(too_old)


def _smoothed(feature: WindowFeature, window: str, smoothing: Smoothing) -> Column:
    clicks = F.col(f"{feature.name}_clicks_{window}")
    shown = F.col(f"{feature.name}_impressions_{window}")
    weight = F.lit(float(smoothing.strength))
    return (clicks + weight * F.lit(float(smoothing.prior))) / (shown + weight)
