"""Adds features of past events to rows in Spark, each as of the row's own time.

The work is split by entity *and tile*, so an entity with half of all events takes no longer than
many small ones:

    tiles     the states of each entity and tile
    windows   for each tile, the merged states of the tiles before; its rows are tiles, not events
    rows      within a tile, the states of the events before a row, merged with those of the windows

All groups take these steps together. With a history of earlier events, the tiles of this history
are among those of the windows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812

from base.durations import milliseconds
from base.section import ConfigError
from features.aggregations import Aggregation
from features.events import ENTITY, KEY, PLACE, ROW, TILE, Entity, Narrow, entities_of, united
from features.groups import FeatureGroup, check
from features.history import History
from features.parts import MS, Ends, Part, over

_USED, _SPREAD = "_used", "_spread"
_ONCE = "_once"  # whether each entity of a row is there once
_MAX_ENTITIES = 62  # bits of a long


def add_features(
    rows: DataFrame,
    groups: Sequence[FeatureGroup],
    streams: Mapping[str, DataFrame],
    *,
    identity: str,
    time: str,
    history: DataFrame | None = None,
    since_ms: int | None = None,
) -> DataFrame:
    """Adds the columns of all groups.

    Args:
      rows: Rows with `identity`, `time` and all keys. A row without one of a group's keys gets the
        values of an entity without a past.
      groups: Declarations.
      streams: Stream -> its events, with `time`, the keys and the columns of the aggregations. An
        event must not occur twice. `rows` itself may be one of them.
      identity: Column with a unique id of each row.
      time: Column with the time of rows and events, in epoch milliseconds.
      history: What the spans before the rows' window left, as history.py writes it. If it covers
        the window too, streams whose events it keeps singly may be absent from `streams`.
      since_ms: Start of the rows' window, in epoch milliseconds; needed with a history.

    Returns:
      The rows, in no order, with the columns of each group.

    Raises:
      ConfigError: The declarations do not fit the rows or the streams.
      SparkRuntimeException: When it is computed, if an id occurs twice.
    """
    earlier = _history(history, groups, since_ms)
    kept = earlier.single - streams.keys() if earlier is not None else ()
    check(groups, {name: frame.columns for name, frame in streams.items()}, kept)
    _check_rows(groups, rows, (identity, time))
    entities = entities_of(groups)
    if len(entities) > _MAX_ENTITIES:
        raise ConfigError(
            f"expected at most {_MAX_ENTITIES} different keys and tiles of feature groups. "
            f"Received: {len(entities)}"
        )
    found = rows
    for parts in _apart(groups):
        one = _Pass(groups, entities, parts, earlier)
        found = found.join(one.by_row(rows, streams, identity, time), identity, "left")
    return found.withColumns(_filled(groups))


def _history(
    history: DataFrame | None, groups: Sequence[FeatureGroup], since_ms: int | None
) -> History | None:
    if history is None:
        return None
    if since_ms is None:
        raise ConfigError("a history needs since_ms, the start of the rows' window")
    return History.of(history, groups, since_ms)


def _check_rows(groups: Sequence[FeatureGroup], rows: DataFrame, given: Sequence[str]) -> None:
    """Checks that the rows have what is needed of them, and no column of a group yet."""
    columns = set(rows.columns)
    for name in (*given, *(key for group in groups for key in group.keys)):
        if name not in columns:
            raise ConfigError(
                f"features of the past need the column '{name}' of the rows. "
                f"Expected one of: {', '.join(sorted(columns))}"
            )
    for group in groups:
        for name in group.column_names():
            if name in columns:
                raise ConfigError(
                    f"feature group '{group.name}' produces the column '{name}', which the rows "
                    "have already. Rename one of them"
                )


def _apart(groups: Sequence[FeatureGroup]) -> list[list[Part]]:
    """Splits the parts of groups: Ends sort their streams' events once more, the others do not."""
    parts = list(dict.fromkeys(part for group in groups for part in group.parts()))
    others = [part for part in parts if not isinstance(part, Ends)]
    ends: list[Part] = [part for part in parts if isinstance(part, Ends)]
    return [some for some in (others, ends) if some]


def _filled(groups: Sequence[FeatureGroup]) -> dict[str, Column]:
    """Returns the columns, where null becomes the value of an entity without a past."""
    filled = {}
    for group in groups:
        for _, aggregation, names in group.results():
            for name, empty in zip(names, aggregation.empty_values(), strict=True):
                if empty is not None:
                    filled[name] = F.coalesce(name, F.array() if empty == [] else F.lit(empty))
    return filled


@dataclasses.dataclass(frozen=True)
class _Result:
    """Columns of a group: an aggregation of one window. `entity` is a number of an Entity."""

    entity: int
    window_ms: int
    parts: tuple[Part, ...]
    aggregation: Aggregation
    names: list[str]


class _Pass:
    """Computes the columns that follow from some of the parts."""

    def __init__(
        self,
        groups: Sequence[FeatureGroup],
        entities: Sequence[Entity],
        parts: Collection[Part],
        history: History | None,
    ) -> None:
        self._names = {part: f"_s{place}" for place, part in enumerate(parts)}
        self._history = history
        self._results = []
        for group in groups:
            entity = entities.index(Entity.of(group))
            for window, aggregation, names in group.results():
                of = aggregation.parts(group.stream, group.where)
                if of[0] in self._names:
                    result = _Result(entity, milliseconds(window), of, aggregation, names)
                    self._results.append(result)
        self._narrow = Narrow.of(groups, self._names)

    def by_row(
        self, rows: DataFrame, streams: Mapping[str, DataFrame], identity: str, time: str
    ) -> DataFrame:
        """Returns the columns of each row by its id; a row without any keys may be missing."""
        finished, places = self._finished(self._joined(rows, streams, identity, time))
        picked = [
            F.first(F.when(F.col(ENTITY) == entity, F.col(slot)), ignorenulls=True).alias(name)
            for name, (entity, slot) in places.items()
        ]
        bit = F.expr(f"shiftleft(1L, {ENTITY})")
        once = (F.sum(bit) == F.bit_or(bit)).alias(_ONCE)
        # Without this shuffle, Spark would aggregate before its own shuffle, to almost no effect,
        # in a table that leaves the windows of that stage no memory (10M rows, heap of 2 GiB).
        found = finished.repartition(ROW).groupBy(ROW).agg(*picked, once)
        twice = F.concat(F.lit(f"expected unique values of {identity}. Received twice: "), ROW)
        # A condition and not a computed id, so that Spark still knows how the rows are parted.
        unique = found.where(F.when(F.col(_ONCE), True).otherwise(F.raise_error(twice)))
        return unique.withColumnRenamed(ROW, identity).drop(_ONCE)

    def _joined(
        self, rows: DataFrame, streams: Mapping[str, DataFrame], identity: str, time: str
    ) -> DataFrame:
        """Returns each row with the states before it: of its tile, and of the windows before."""
        needed = sorted({part.stream for part in self._names})
        kept = [name for name in needed if name not in streams]  # only in the history
        apart = [name for name in needed if name not in kept and streams[name] is not rows]
        own = [name for name in needed if name not in kept and streams[name] is rows]
        of: list[str | None] = [*own] or [None]
        asking = {name: self._narrow.rows(rows, time, name, identity) for name in of}
        others = {name: self._narrow.rows(streams[name], time, name, None) for name in apart}
        if self._history is None:
            # Their lists are shorter to make before the union, whose rows are many.
            narrow = [self._narrow.running(frame, [name]) for name, frame in others.items()]
        else:
            single = self._history.events(self._narrow, kept)
            narrow, own = [*others.values(), single], needed
        events = united([*narrow, *asking.values()]).repartition(*PLACE)
        events = self._narrow.running(events, own)
        tiles = self._tiles(events)
        if self._history is not None:
            there = united([*asking.values()]).select(ENTITY, KEY).distinct()
            earlier = self._history.tiles(self._narrow)
            tiles = tiles.unionByName(earlier.join(there, [ENTITY, KEY], "left_semi"))
        # Only after `_seen`, which drops the events that are no rows, and whose order serves the
        # join as well.
        return self._seen(events).join(self._windows(tiles), list(PLACE))

    def _tiles(self, events: DataFrame) -> DataFrame:
        states = [p.of_values(F.col(n), over(None)).alias(n) for p, n in self._names.items()]
        # Events are read here and in `_seen`. Spark computes and shuffles them once if both need
        # the same columns, so this needs them all.
        needed = [F.max(MS).alias(_USED), F.count(ROW).alias(ROW)]
        tiles = events.groupBy(*PLACE).agg(*states, *needed)
        used = F.col(_USED).isNotNull() & (F.col(ROW) >= 0)
        return tiles.where(used).drop(_USED, ROW)

    def _windows(self, tiles: DataFrame) -> DataFrame:
        """Returns, for each tile, the states of the windows before it."""
        by_time = Window.partitionBy(_SPREAD, ENTITY, KEY).orderBy(TILE)
        spread = tiles.withColumn(_SPREAD, F.xxhash64(ENTITY, KEY))
        wanted = {(part, r.window_ms): None for r in self._results for part in r.parts}
        states = [
            part.of_window(F.col(self._names[part]), by_time, length).alias(
                self._window(part, length)
            )
            for part, length in wanted
        ]
        return spread.select(*PLACE, *states)

    def _window(self, part: Part, length: int) -> str:
        return f"{self._names[part]}_{length}"

    def _seen(self, events: DataFrame) -> DataFrame:
        """Replaces each value by the state of the earlier events of its tile; keeps only rows."""
        by_time = Window.partitionBy(*PLACE).orderBy(MS)
        earlier = over(by_time.rangeBetween(Window.unboundedPreceding, -1))
        states = {name: p.of_values(F.col(name), earlier) for p, name in self._names.items()}
        return events.withColumns(states).where(F.col(ROW).isNotNull())

    def _finished(self, joined: DataFrame) -> tuple[DataFrame, dict[str, tuple[int, str]]]:
        """Returns ROW, ENTITY and shared columns, and where each column of a group is in them.

        The second result is column -> its entity and the shared column.
        """
        # Entities share the columns of equal computations, so that rows stay narrow.
        columns: dict[tuple[Aggregation, int, tuple[Part, ...]], list[Column]] = {}
        places: dict[str, tuple[int, str]] = {}
        for result in self._results:
            computation = result.aggregation, result.window_ms, result.parts
            if computation not in columns:
                columns[computation] = self._values(result)
            first = f"_value_{[*columns].index(computation)}"
            for place, name in enumerate(result.names):
                places[name] = result.entity, f"{first}_{place}"
        named = [
            value.alias(f"_value_{number}_{place}")
            for number, values in enumerate(columns.values())
            for place, value in enumerate(values)
        ]
        return joined.select(ROW, ENTITY, *named), places

    def _values(self, result: _Result) -> list[Column]:
        states = [
            part.merged(F.col(self._window(part, result.window_ms)), F.col(self._names[part]))
            for part in result.parts
        ]
        return [*result.aggregation.columns(states, F.col(MS))]
