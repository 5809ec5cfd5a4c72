"""Adds features of past events to rows in Spark, each as of the row's own time.

The work is split by entity *and tile*, so an entity with half of all events takes no longer than
many small ones:

    tiles     the states of each entity and tile
    windows   for each tile, the merged states of the tiles before; its rows are tiles, not events
    rows      within a tile, the states of the events before a row, merged with those of the windows

An event is one narrow row for each set of keys, and all groups take these steps together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812

from base.section import ConfigError
from features.aggregations import Aggregation
from features.durations import milliseconds
from features.entity_keys import key_column
from features.groups import FeatureGroup, check
from features.parts import MS, Ends, Part, over

_ENTITY, _KEY, _TILE, _ROW, _AT, _USED = "_entity", "_key", "_tile", "_row", "_at", "_used"
_ONCE = "_once"  # whether each entity of a row is there once
# Spark sorts by the first eight bytes before it compares rows: a hash tells most places apart.
_HASH, _SPREAD = "_hash", "_spread"
_PLACE = (_HASH, _ENTITY, _TILE, _KEY)
_MAX_ENTITIES = 62  # bits of a long


def add_features(
    rows: DataFrame,
    groups: Sequence[FeatureGroup],
    streams: Mapping[str, DataFrame],
    *,
    identity: str,
    time: str,
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

    Returns:
      The rows, in no order, with the columns of each group.

    Raises:
      ConfigError: The declarations do not fit the rows or the streams.
      SparkRuntimeException: When it is computed, if an id occurs twice.
    """
    check(groups, {name: frame.columns for name, frame in streams.items()})
    _check_rows(groups, rows, (identity, time))
    entities = list(dict.fromkeys(_Entity(group.keys, group.tile_ms) for group in groups))
    passes = [_Pass(groups, entities, parts) for parts in _apart(groups)]
    if len(entities) > _MAX_ENTITIES:
        raise ConfigError(
            f"expected at most {_MAX_ENTITIES} different keys and tiles of feature groups. "
            f"Received: {len(entities)}"
        )
    found = rows
    for one in passes:
        found = found.join(one.by_row(rows, streams, identity, time), identity, "left")
    return found.withColumns(_filled(groups))


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


def _united(frames: Sequence[DataFrame]) -> DataFrame:
    return reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), frames)


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
class _Entity:
    """Keys and a length of tiles. Groups that have both in common are computed together."""

    keys: tuple[str, ...]
    tile_ms: int


@dataclasses.dataclass(frozen=True)
class _Result:
    """Columns of a group: an aggregation of one window. `entity` is a number of an _Entity."""

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
        entities: Sequence[_Entity],
        parts: Collection[Part],
    ) -> None:
        self._names = {part: f"_s{place}" for place, part in enumerate(parts)}
        self._entities = entities
        self._results = []
        for group in groups:
            entity = entities.index(_Entity(group.keys, group.tile_ms))
            for window, aggregation, names in group.results():
                of = aggregation.parts(group.stream, group.where)
                if of[0] in self._names:
                    result = _Result(entity, milliseconds(window), of, aggregation, names)
                    self._results.append(result)

    def by_row(
        self, rows: DataFrame, streams: Mapping[str, DataFrame], identity: str, time: str
    ) -> DataFrame:
        """Returns the columns of each row by its id; a row without any keys may be missing."""
        finished, places = self._finished(self._joined(rows, streams, identity, time))
        picked = [
            F.first(F.when(F.col(_ENTITY) == entity, F.col(slot)), ignorenulls=True).alias(name)
            for name, (entity, slot) in places.items()
        ]
        bit = F.expr(f"shiftleft(1L, {_ENTITY})")
        once = (F.sum(bit) == F.bit_or(bit)).alias(_ONCE)
        # Without this shuffle, Spark would aggregate before its own shuffle, to almost no effect,
        # in a table that leaves the windows of that stage no memory (10M rows, heap of 2 GiB).
        found = finished.repartition(_ROW).groupBy(_ROW).agg(*picked, once)
        twice = F.concat(F.lit(f"expected unique values of {identity}. Received twice: "), _ROW)
        # A condition and not a computed id, so that Spark still knows how the rows are parted.
        unique = found.where(F.when(F.col(_ONCE), True).otherwise(F.raise_error(twice)))
        return unique.withColumnRenamed(_ROW, identity).drop(_ONCE)

    def _joined(
        self, rows: DataFrame, streams: Mapping[str, DataFrame], identity: str, time: str
    ) -> DataFrame:
        """Returns each row with the states before it: of its tile, and of the windows before."""
        needed = sorted({part.stream for part in self._names})
        apart = [name for name in needed if streams[name] is not rows]
        narrow = [self._running(self._narrow(streams[n], time, n, None), [n]) for n in apart]
        own = [name for name in needed if streams[name] is rows]
        if own:
            narrow += [self._narrow(rows, time, name, identity) for name in own]
        else:
            narrow.append(self._narrow(rows, time, None, identity))
        events = self._running(_united(narrow).repartition(*_PLACE), own)
        # Only after `_seen`, which drops the events that are no rows, and whose order serves the
        # join as well.
        windows = self._windows(self._tiles(events))
        return self._seen(events).join(windows, list(_PLACE))

    def _running(self, events: DataFrame, streams: Sequence[str]) -> DataFrame:
        """Returns events in which the values of Ends of these streams are lists so far."""
        ends = [part for part in self._names if isinstance(part, Ends) and part.stream in streams]
        if ends:
            events = events.repartition(*_PLACE)
        for part in ends:
            events = part.running(events, self._names[part], _PLACE)
        return events

    def _narrow(
        self, frame: DataFrame, time: str, stream: str | None, identity: str | None
    ) -> DataFrame:
        """Returns a narrow row for each event and entity.

        Args:
          frame: Events, rows, or both in one.
          time: Column with their time.
          stream: Stream of the events; None for rows alone.
          identity: Column with the id of the rows; None for events alone.

        Returns:
          _ENTITY, _KEY and _TILE, which say where the event belongs, its time, the id of the row,
          and what the event puts into each part.
        """
        parts = [part for part in self._names if part.stream == stream]
        takers = {
            part: [result.entity for result in self._results if part in result.parts]
            for part in parts
        }
        everywhere = (
            {result.entity for result in self._results}
            if identity
            else set().union(*takers.values())
        )
        values = [part.value().alias(self._names[part]) for part in parts]
        narrow = frame.withColumn(MS, F.col(time).cast("long")).select(
            MS,
            (F.col(identity) if identity else F.lit(None)).alias(_ROW),
            *values,
            F.explode(F.array(*map(self._place, sorted(everywhere)))).alias(_AT),
        )
        masked = [
            F.when(F.col(f"{_AT}.{_ENTITY}").isin(takers[part]), F.col(name)).alias(name)
            for part, name in self._names.items()
            if part in parts
        ]
        known = F.col(_KEY).isNotNull() & F.col(_TILE).isNotNull()
        return narrow.select(f"{_AT}.*", MS, _ROW, *masked).where(known)

    def _place(self, number: int) -> Column:
        entity = self._entities[number]
        tile = (F.floor(F.col(MS) / entity.tile_ms) * entity.tile_ms).cast("long")
        key = key_column(entity.keys)
        return F.struct(
            F.xxhash64(F.lit(number), key, tile).alias(_HASH),
            F.lit(number).alias(_ENTITY),
            tile.alias(_TILE),
            key.alias(_KEY),
        )

    def _tiles(self, events: DataFrame) -> DataFrame:
        states = [p.of_values(F.col(n), over(None)).alias(n) for p, n in self._names.items()]
        # Events are read here and in `_seen`. Spark computes and shuffles them once if both need
        # the same columns, so this needs them all.
        needed = [F.max(MS).alias(_USED), F.count(_ROW).alias(_ROW)]
        tiles = events.groupBy(*_PLACE).agg(*states, *needed)
        return tiles.where(F.col(_USED).isNotNull() & (F.col(_ROW) >= 0))

    def _windows(self, tiles: DataFrame) -> DataFrame:
        """Returns, for each tile, the states of the windows before it."""
        by_time = Window.partitionBy(_SPREAD, _ENTITY, _KEY).orderBy(_TILE)
        spread = tiles.withColumn(_SPREAD, F.xxhash64(_ENTITY, _KEY))
        wanted = {(part, r.window_ms): None for r in self._results for part in r.parts}
        states = [
            part.of_window(F.col(self._names[part]), by_time, length).alias(
                self._window(part, length)
            )
            for part, length in wanted
        ]
        return spread.select(*_PLACE, *states)

    def _window(self, part: Part, length: int) -> str:
        return f"{self._names[part]}_{length}"

    def _seen(self, events: DataFrame) -> DataFrame:
        """Replaces each value by the state of the earlier events of its tile; keeps only rows."""
        by_time = Window.partitionBy(*_PLACE).orderBy(MS)
        earlier = over(by_time.rangeBetween(Window.unboundedPreceding, -1))
        states = {name: p.of_values(F.col(name), earlier) for p, name in self._names.items()}
        return events.withColumns(states).where(F.col(_ROW).isNotNull())

    def _finished(self, joined: DataFrame) -> tuple[DataFrame, dict[str, tuple[int, str]]]:
        """Returns _ROW, _ENTITY and shared columns, and where each column of a group is in them.

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
        return joined.select(_ROW, _ENTITY, *named), places

    def _values(self, result: _Result) -> list[Column]:
        states = [
            part.merged(F.col(self._window(part, result.window_ms)), F.col(self._names[part]))
            for part in result.parts
        ]
        return [*result.aggregation.columns(states, F.col(MS))]
