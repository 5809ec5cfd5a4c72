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
_SOURCE, _COUNT = "_source", "_count"  # pass and entity of a finished row; how often it is there
_PLACE = (_ENTITY, _KEY, _TILE)


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
    passes = [_Pass(groups, parts) for parts in _apart(groups)]
    found = _united(
        [
            one.columns(rows, streams, identity, time).withColumn(
                _SOURCE, F.struct(F.lit(number), _ENTITY)
            )
            for number, one in enumerate(passes)
        ]
    )
    names = [name for group in groups for name in group.column_names()]
    picked = [F.first(name, ignorenulls=True).alias(name) for name in names]
    # Without this shuffle, Spark would aggregate before its own shuffle, to almost no effect, in a
    # table that leaves the windows of that stage no memory (10M rows, heap of 2 GiB).
    once = F.count("*") == F.size(F.collect_set(_SOURCE))
    by_row = found.repartition(_ROW).groupBy(_ROW).agg(*picked, once.alias(_COUNT))
    twice = F.concat(F.lit(f"expected unique values of {identity}. Received twice: "), _ROW)
    unique = F.when(F.col(_COUNT), F.col(_ROW)).otherwise(F.raise_error(twice))
    by_id = by_row.withColumn(identity, unique).drop(_ROW, _COUNT)
    return rows.join(by_id, identity, "left").withColumns(_filled(groups))


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
    """Columns of a group: an aggregation of one window."""

    entity: _Entity
    window_ms: int
    parts: tuple[Part, ...]
    aggregation: Aggregation
    names: list[str]


class _Pass:
    """Computes the columns that follow from some of the parts."""

    def __init__(self, groups: Sequence[FeatureGroup], parts: Collection[Part]) -> None:
        self._names = {part: f"_s{place}" for place, part in enumerate(parts)}
        self._results = []
        for group in groups:
            entity = _Entity(group.keys, group.tile_ms)
            for window, aggregation, names in group.results():
                of = aggregation.parts(group.stream, group.where)
                if of[0] in self._names:
                    result = _Result(entity, milliseconds(window), of, aggregation, names)
                    self._results.append(result)
        self._entities = list(dict.fromkeys(result.entity for result in self._results))

    def columns(
        self, rows: DataFrame, streams: Mapping[str, DataFrame], identity: str, time: str
    ) -> DataFrame:
        """Returns _ROW, _ENTITY and the columns; those of other entities are null."""
        needed = {part.stream for part in self._names}
        narrow = [
            self._narrow(streams[name], time, name, identity if streams[name] is rows else None)
            for name in sorted(needed)
        ]
        if not any(streams[name] is rows for name in needed):
            narrow.append(self._narrow(rows, time, None, identity))
        events = _united(narrow).repartition(*_PLACE)
        for part, name in self._names.items():
            if isinstance(part, Ends):
                events = part.running(events, name, _PLACE)
        windows = self._windows(self._tiles(events))
        return self._finished(self._seen(events.join(windows, list(_PLACE))))

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
            part: [self._entities.index(r.entity) for r in self._results if part in r.parts]
            for part in parts
        }
        everywhere = range(len(self._entities)) if identity else set().union(*takers.values())
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
        tile = F.floor(F.col(MS) / entity.tile_ms) * entity.tile_ms
        return F.struct(
            F.lit(number).alias(_ENTITY),
            key_column(entity.keys).alias(_KEY),
            tile.cast("long").alias(_TILE),
        )

    def _tiles(self, events: DataFrame) -> DataFrame:
        states = [p.of_values(F.col(n), over(None)).alias(n) for p, n in self._names.items()]
        # Events are read here and in `_seen`. Spark computes and shuffles them once if both need
        # the same columns, so this needs them all.
        used = F.max(F.struct(MS, _ROW)).alias(_USED)
        return events.groupBy(*_PLACE).agg(*states, used).where(F.col(_USED).isNotNull())

    def _windows(self, tiles: DataFrame) -> DataFrame:
        """Returns, for each tile, the states of the windows before it."""
        by_time = Window.partitionBy(_ENTITY, _KEY).orderBy(_TILE)
        wanted = {(part, r.window_ms): None for r in self._results for part in r.parts}
        states = [
            part.of_window(F.col(self._names[part]), by_time, length).alias(
                self._window(part, length)
            )
            for part, length in wanted
        ]
        return tiles.select(*_PLACE, *states)

    def _window(self, part: Part, length: int) -> str:
        return f"{self._names[part]}_{length}"

    def _seen(self, events: DataFrame) -> DataFrame:
        """Replaces each value by the state of the earlier events of its tile; keeps only rows."""
        by_time = Window.partitionBy(*_PLACE).orderBy(MS)
        earlier = over(by_time.rangeBetween(Window.unboundedPreceding, -1))
        states = {name: p.of_values(F.col(name), earlier) for p, name in self._names.items()}
        return events.withColumns(states).where(F.col(_ROW).isNotNull())

    def _finished(self, seen: DataFrame) -> DataFrame:
        columns = []
        for result in self._results:
            states = [
                part.merged(F.col(self._window(part, result.window_ms)), F.col(self._names[part]))
                for part in result.parts
            ]
            mine = F.col(_ENTITY) == self._entities.index(result.entity)
            found = result.aggregation.columns(states, F.col(MS))
            for name, column in zip(result.names, found, strict=True):
                columns.append(F.when(mine, column).alias(name))
        return seen.select(_ROW, _ENTITY, *columns)
