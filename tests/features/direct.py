"""Features of past events computed directly: for each row, the events of each window, in pandas."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from base.durations import HOUR_MS, milliseconds
from features.aggregations import (
    Aggregation,
    Count,
    Distinct,
    First,
    Last,
    Max,
    Mean,
    Min,
    Rate,
    Sum,
    Variance,
)
from features.groups import FeatureGroup

Events = Mapping[str, pd.DataFrame]


def _above_50(event: Any) -> bool:
    """Returns what Spark says: NaN is larger than any number, and null is not."""
    amount = event["amount"]
    return amount is not None and (math.isnan(amount) or amount > 50)


CONDITIONS: dict[str, Callable[[Any], bool]] = {"amount > 50": _above_50}


def direct_features(
    rows: pd.DataFrame, groups: Sequence[FeatureGroup], events: Events, time: str
) -> list[dict[str, Any]]:
    """Returns the columns of each row."""
    return [
        {
            name: value
            for group in groups
            for window, aggregation, names in group.results()
            for name, value in zip(
                names, _values(aggregation, group, window, row, events, time), strict=True
            )
        }
        for row in rows.to_dict("records")
    ]


def _values(
    aggregation: Aggregation,
    group: FeatureGroup,
    window: str,
    row: Mapping[Any, Any],
    events: Events,
    time: str,
) -> tuple[Any, ...]:
    end = row[time]
    start = end // group.tile_ms * group.tile_ms - milliseconds(window)

    def within(stream: str, where: str | None) -> pd.DataFrame:
        frame = events[stream]
        if any(row[key] is None for key in group.keys):
            return frame.iloc[:0]
        same = [frame[key] == row[key] for key in group.keys]
        kept = frame[np.logical_and.reduce([*same, frame[time] >= start, frame[time] < end])]
        if where is None:
            return kept
        fulfilled = [CONDITIONS[where](event) for event in kept.to_dict("records")]
        return kept[np.array(fulfilled, dtype=bool)]

    past = within(group.stream, group.where)
    if isinstance(aggregation, Rate):
        others = len(within(aggregation.of, aggregation.where))
        weighted = len(past) + aggregation.strength * aggregation.prior
        return (weighted / (others + aggregation.strength),)
    if isinstance(aggregation, (First, Last)):
        return _ends(aggregation, past, end, time)
    if isinstance(aggregation, Count):
        return (len(past),)
    assert isinstance(aggregation, (Sum, Mean, Min, Max, Variance, Distinct))
    column = past[aggregation.column]
    if isinstance(aggregation, Distinct):
        return (column.nunique(),)
    numbers = column.astype(float)
    numbers = numbers[np.isfinite(numbers)]
    if numbers.empty:
        return (aggregation.empty,)
    computed: dict[type, Callable[[Any], float]] = {
        Sum: np.sum,
        Mean: np.mean,
        Min: np.min,
        Max: np.max,
        Variance: np.var,
    }
    return (float(computed[type(aggregation)](numbers.to_numpy())),)


def _ends(aggregation: First | Last, past: pd.DataFrame, end: int, time: str) -> tuple[Any, ...]:
    of = aggregation.columns_of
    names = (of,) if isinstance(of, str) else of
    entries = [(row[time], *(row[name] for name in names)) for row in past.to_dict("records")]
    entries.sort(key=lambda entry: [*map(_ordered, entry)], reverse=isinstance(aggregation, Last))
    kept = entries[: aggregation.length or 1]
    lists = [[entry[place + 1] for entry in kept] for place in range(len(names))]
    if aggregation.hours:
        lists.append([(end - entry[0]) / HOUR_MS for entry in kept])
    if aggregation.length is None:
        return tuple(values[0] if values else None for values in lists)
    return tuple(lists)


def _ordered(value: Any) -> tuple[int, Any]:
    """Returns a key that orders values as Spark does: null first, and NaN last."""
    if value is None:
        return 0, 0
    return (2, 0) if isinstance(value, float) and math.isnan(value) else (1, value)
