"""History: what the events of a span leave for the features of its rows and of later ones.

A history is a table with one schema, COLUMNS, whatever is declared:

    entity   keys and tile of a group (events.py)      numbers   part -> number of its state
    key      text of an entity's keys                  sketches  part -> HyperLogLog sketch
    tile     start of the tile, epoch milliseconds     texts     part -> JSON of its state
    at       null; or the time of a single event, whose values these are

Later spans need the states of tiles. Rows of the span itself need to know which of its events came
before them, so the events of some streams are kept singly as well: outcomes, which alone do not say
what they are about. Each span's table begins with a line that says what it has (`entity` is null).
So a group that was declared later is an error, and not an entity without a past.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql import types as T  # noqa: N812

from base.durations import HOUR_MS
from base.section import ConfigError
from features.events import (
    ENTITY,
    KEY,
    PLACE,
    ROW,
    TILE,
    Entity,
    Narrow,
    placed,
    united,
)
from features.groups import FeatureGroup, check
from features.history_columns import COLUMNS
from features.parts import MS, Ends, Events, Moments, Part, Sketch, over

DECLARED = "declared"  # key of the line that says which states a table has
_MOMENTS = ("count", "mean", "squares")
# Types that JSON keeps as they are.
_PLAIN = (T.StringType, T.IntegralType, T.FloatType, T.DoubleType, T.BooleanType)


def history_of(
    groups: Sequence[FeatureGroup],
    streams: Mapping[str, DataFrame],
    begin_ms: int,
    end_ms: int,
    *,
    time: str,
    single: Collection[str] = (),
) -> DataFrame:
    """Returns what the events of a span leave for the features of rows.

    Args:
      groups: Declarations, with tiles of at most an hour.
      streams: Stream -> its events, with `time`, the keys and the columns of the aggregations.
        Events outside the span are left out.
      begin_ms: Start of the span, in epoch milliseconds.
      end_ms: Its end, which does not belong to it.
      time: Column with the time of an event, in epoch milliseconds.
      single: Streams whose events are also kept one by one.

    Returns:
      Rows of COLUMNS.

    Raises:
      ConfigError: The declarations do not fit the streams, or cannot be kept by hours.
    """
    check(groups, {name: frame.columns for name, frame in streams.items()})
    _check_tiles(groups)
    narrow = _all_parts(groups)
    needed = sorted({part.stream for part in narrow.columns})
    in_span = F.col(time).cast("long").between(begin_ms, end_ms - 1)
    of = {n: narrow.rows(streams[n].where(in_span), time, n, None) for n in needed}
    events, alone = united([*of.values()]), [name for name in needed if name in single]
    declared = {
        "states": _declared(groups),
        "types": _types(narrow, events),
        "single": alone,
        "span": [begin_ms, end_ms],
    }
    line: list[tuple[Any, ...]] = [
        (None, DECLARED, None, None, {}, {}, {DECLARED: json.dumps(declared)})
    ]
    schema = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    first = events.sparkSession.createDataFrame(line, schema)
    singles = [_packed(united([events.limit(0), of[n]]), narrow, single=True) for n in alone]
    return united([first, _states(narrow, events), *singles])


class History:
    """The history of spans.

    Args:
      frame: Rows of COLUMNS, at least one line of declarations among them.
      groups: Declarations.
      since_ms: Start of the rows' window, in epoch milliseconds: of the spans before it the states
        count, and of the spans from there on the single events.

    Attributes:
      types: Name of a part of first or last events -> Spark's types of its columns.
      single: Streams whose single events the history of the window has.

    Raises:
      ConfigError: The history was written without the states of a group, the types of its columns
        have changed, or a table occurs twice.
    """

    def __init__(self, frame: DataFrame, groups: Sequence[FeatureGroup], since_ms: int) -> None:
        self._frame, self._since_ms = frame, since_ms
        self.types: dict[str, list[str]] = {}
        lines = _lines(frame)
        for declared in lines:
            _check_states(groups, declared["states"])
            for name, types in declared["types"].items():
                if self.types.setdefault(name, types) != types:
                    raise ConfigError(
                        f"the history of earlier hours has columns of types {', '.join(types)} and "
                        f"{', '.join(self.types[name])} under one name: a column of an event has "
                        "changed. Write the history of these hours again"
                    )
        inside = [set(line["single"]) for line in lines if line["span"][0] >= since_ms]
        self.single = frozenset(set.intersection(*inside)) if inside else frozenset[str]()

    @classmethod
    def of(
        cls, frame: DataFrame | None, groups: Sequence[FeatureGroup], since_ms: int
    ) -> History | None:
        """Returns the history of a table; None if there is none, or it is empty."""
        return None if frame is None or frame.isEmpty() else cls(frame, groups, since_ms)

    def tiles(self, narrow: Narrow) -> DataFrame:
        """Returns the states of the tiles before the window, with PLACE."""
        kept = self._frame.where(F.col("at").isNull() & (F.col("tile") < self._since_ms))
        return self._placed(narrow, kept, single=False).drop(MS, ROW)

    def events(self, narrow: Narrow, streams: Collection[str]) -> DataFrame:
        """Returns narrow rows of the window's single events of some streams."""
        kept = self._frame.where(F.col("at") >= self._since_ms)
        return self._placed(narrow, kept, single=True, streams=streams)

    def _placed(
        self,
        narrow: Narrow,
        kept: DataFrame,
        *,
        single: bool,
        streams: Collection[str] | None = None,
    ) -> DataFrame:
        """Returns the rows of declared entities; parts of other streams than the given are null."""
        cases = [
            F.when(F.col("entity") == entity.name, F.lit(number))
            for number, entity in enumerate(narrow.entities)
        ]
        where = placed(F.coalesce(*cases), F.col("key"), F.col("tile"))
        columns = [
            (
                self._unpacked(part, single)
                if streams is None or part.stream in streams
                else F.lit(None)
            ).alias(name)
            for part, name in narrow.columns.items()
        ]
        null = F.lit(None).alias(ROW)
        found = kept.select(*where, F.col("at").alias(MS), null, *columns)
        return found.where(F.col(ENTITY).isNotNull())

    def _unpacked(self, part: Part, single: bool) -> Column:
        """Returns a state, or what a single event puts in."""

        def kept(key: str) -> Column:
            return F.element_at(_kept_in(part, single), F.lit(key))

        if isinstance(part, Moments) and not single:
            count, *others = (kept(f"{part.name}.{field}").alias(field) for field in _MOMENTS)
            state = F.struct(count.cast("long").alias("count"), *others)
            return F.when(count.isNotNull(), state)
        if isinstance(part, Ends):
            types = self.types.get(part.name, ())  # none in a history that lacks the part
            fields = [f"{MS}:bigint", *(f"c{place}:{kind}" for place, kind in enumerate(types))]
            entry = f"struct<{','.join(fields)}>"
            return F.from_json(kept(part.name), entry if single else f"array<{entry}>")
        return kept(part.name).cast("long") if isinstance(part, Events) else kept(part.name)


def states(frame: DataFrame) -> DataFrame:
    """Returns the rows of a history that are states of tiles, with any columns beside COLUMNS.

    They include the single events. So this is for whoever reads a span only when it is over, such
    as an online store.
    """
    return frame.where(F.col("entity").isNotNull() & F.col("at").isNull()).drop("at")


def _lines(frame: DataFrame) -> list[dict[str, Any]]:
    """Returns what the tables of a history say about themselves.

    Raises:
      ConfigError: There is nothing, so the table is not a history, or a span is there twice.
    """
    line = F.element_at("texts", F.lit(DECLARED))
    found = [
        json.loads(text) for (text,) in frame.where(F.col("entity").isNull()).select(line).collect()
    ]
    spans = [tuple(one["span"]) for one in found]
    if len(set(spans)) < len(spans):
        raise ConfigError(
            "the history of earlier hours has an hour twice, so its events would count twice; read "
            "the newest version of each hour only"
        )
    if not found:
        raise ConfigError(
            "expected a history of earlier hours, which says what was declared. Received: a table "
            "without that line; see features/history.py"
        )
    return found


def _check_states(groups: Sequence[FeatureGroup], states: Sequence[Sequence[str]]) -> None:
    known = {tuple(pair) for pair in states}
    for group in groups:
        if any((Entity.of(group).name, part.name) not in known for part in group.parts()):
            raise ConfigError(
                f"feature group '{group.name}': the history of earlier hours was written without "
                "it, so its values would be those of entities without a past. Write the history of "
                "these hours again with the present declarations"
            )


def _all_parts(groups: Sequence[FeatureGroup]) -> Narrow:
    parts = dict.fromkeys(part for group in groups for part in group.parts())
    return Narrow.of(groups, {part: f"_s{place}" for place, part in enumerate(parts)})


def _states(narrow: Narrow, events: DataFrame) -> DataFrame:
    """Returns the rows of COLUMNS with the states of events' tiles."""
    running = narrow.running(events, {part.stream for part in narrow.columns})
    states = [p.of_values(F.col(n), over(None)).alias(n) for p, n in narrow.columns.items()]
    tiles = running.groupBy(*PLACE).agg(*states).withColumn(MS, F.lit(None).cast("long"))
    return _packed(tiles, narrow, single=False)


def _declared(groups: Sequence[FeatureGroup]) -> list[list[str]]:
    """Returns the pairs of entity and part that a history has."""
    pairs = {(Entity.of(group).name, part.name) for group in groups for part in group.parts()}
    return [list(pair) for pair in sorted(pairs)]


def _check_tiles(groups: Sequence[FeatureGroup]) -> None:
    for group in groups:
        if HOUR_MS % group.tile_ms:
            raise ConfigError(
                f"feature group '{group.name}': a history by hours needs tiles that divide an "
                f"hour. Received: {group.tile}"
            )


def _types(narrow: Narrow, events: DataFrame) -> dict[str, list[str]]:
    """Returns part -> types of its columns, for first and last events, which JSON must keep."""
    found = {}
    for part, name in narrow.columns.items():
        if isinstance(part, Ends):
            entry: Any = events.schema[name].dataType
            fields = entry.fields[1:]
            for column, field in zip(part.columns, fields, strict=True):
                if not isinstance(field.dataType, _PLAIN):
                    raise ConfigError(
                        f"the column '{column}' of the stream '{part.stream}': a history keeps "
                        "texts, numbers and booleans of first and last events. Received: "
                        f"{field.dataType.simpleString()}; cast it in the ETL"
                    )
            found[part.name] = [field.dataType.simpleString() for field in fields]
    return found


def _packed(rows: DataFrame, narrow: Narrow, *, single: bool) -> DataFrame:
    """Returns rows of COLUMNS from narrow rows of states, or of single events' values."""
    entries: dict[str, list[Column]] = {"numbers": [], "sketches": [], "texts": []}
    for part, name in narrow.columns.items():
        for key, value in _entries(part, F.col(name), single):
            entry = F.struct(F.lit(key).alias("key"), value.alias("value"))
            entries[_kept_in(part, single)].append(entry)
    known = lambda entry: entry["value"].isNotNull()  # noqa: E731
    maps = [
        (F.map_from_entries(F.filter(F.array(*some), known)) if some else F.create_map())
        .cast(COLUMNS[name])
        .alias(name)
        for name, some in entries.items()
    ]
    cases = [
        F.when(F.col(ENTITY) == number, F.lit(entity.name))
        for number, entity in enumerate(narrow.entities)
    ]
    where = {"entity": F.coalesce(*cases), "key": F.col(KEY), "tile": F.col(TILE), "at": F.col(MS)}
    return rows.select(*(column.alias(name) for name, column in where.items()), *maps)


def _kept_in(part: Part, single: bool) -> str:
    """Returns the column of COLUMNS that keeps a part's states, or its values of single events."""
    if isinstance(part, Ends) or (isinstance(part, Sketch) and single):
        return "texts"
    return "sketches" if isinstance(part, Sketch) else "numbers"


def _entries(part: Part, value: Column, single: bool) -> list[tuple[str, Column]]:
    """Returns the keys and values that keep a state, or the value of a single event."""
    if isinstance(part, Moments) and not single:
        return [(f"{part.name}.{field}", value[field].cast("double")) for field in _MOMENTS]
    if isinstance(part, Ends):
        return [(part.name, F.to_json(value))]
    return [(part.name, value if isinstance(part, Sketch) else value.cast("double"))]
