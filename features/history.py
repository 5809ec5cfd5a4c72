"""History: what the events of a span leave for the features of later rows.

A history is a table with one schema, COLUMNS, whatever is declared:

    entity   keys and tile of a group (events.py)      numbers   part -> number of its state
    key      text of an entity's keys                  sketches  part -> HyperLogLog sketch
    tile     start of the tile, epoch milliseconds     texts     part -> JSON of its state
    at       null; or the time of a single event, whose values these are

A single event is kept as it is if it happened after the span's end: a row in the same tile needs to
know which came first. Each span's table begins with a line that says which states it has (`entity`
is null). So a group that was declared later is an error, and not an entity without a past.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql import types as T  # noqa: N812

from base.section import ConfigError
from features.durations import HOUR_MS
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
from features.parts import MS, Ends, Events, Moments, Part, Sketch, over

PAST = "past"  # name of its folder in hourly operation, and of the source that reads it
COLUMNS = {
    "entity": "string",
    "key": "string",
    "tile": "bigint",
    "at": "bigint",
    "numbers": "map<string,double>",
    "sketches": "map<string,binary>",
    "texts": "map<string,string>",
}
DECLARED = "declared"  # key of the line that says which states a table has
_MOMENTS = ("count", "mean", "squares")
# Types that JSON keeps as they are.
_PLAIN = (T.StringType, T.IntegralType, T.FloatType, T.DoubleType, T.BooleanType)


def history_of(
    groups: Sequence[FeatureGroup],
    streams: Mapping[str, DataFrame],
    until_ms: int,
    *,
    time: str,
) -> DataFrame:
    """Returns what events leave for the features of later rows.

    Args:
      groups: Declarations, with tiles of at most an hour.
      streams: Stream -> its events of one span, with `time`, the keys and the columns of the
        aggregations.
      until_ms: End of the span, in epoch milliseconds. Later events are kept one by one.
      time: Column with the time of an event, in epoch milliseconds.

    Returns:
      Rows of COLUMNS.

    Raises:
      ConfigError: The declarations do not fit the streams, or cannot be kept by hours.
    """
    check(groups, {name: frame.columns for name, frame in streams.items()})
    _check_tiles(groups)
    narrow = _all_parts(groups)
    needed = sorted({part.stream for part in narrow.columns})
    events = united([narrow.rows(streams[name], time, name, None) for name in needed])
    declared = {"states": _declared(groups), "types": _types(narrow, events)}
    line: list[tuple[Any, ...]] = [
        (None, DECLARED, None, None, {}, {}, {DECLARED: json.dumps(declared)})
    ]
    schema = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    in_span, later = events.where(F.col(MS) < until_ms), events.where(F.col(MS) >= until_ms)
    return united(
        [
            events.sparkSession.createDataFrame(line, schema),
            _states(narrow, in_span),
            _packed(later, narrow, single=True),
        ]
    )


class History:
    """The history of earlier spans.

    Args:
      frame: Rows of COLUMNS, at least one line of declarations among them.
      groups: Declarations.

    Attributes:
      types: Name of a part of first or last events -> Spark's types of its columns.

    Raises:
      ConfigError: The history was written without the states of a group, or the types of its
        columns have changed.
    """

    def __init__(self, frame: DataFrame, groups: Sequence[FeatureGroup]) -> None:
        self._frame = frame
        self.types: dict[str, list[str]] = {}
        for declared in _lines(frame):
            _check_states(groups, declared["states"])
            for name, types in declared["types"].items():
                if self.types.setdefault(name, types) != types:
                    raise ConfigError(
                        f"the history of earlier hours has columns of types {', '.join(types)} and "
                        f"{', '.join(self.types[name])} under one name: a column of an event has "
                        "changed. Write the history of these hours again"
                    )

    @classmethod
    def of(cls, frame: DataFrame | None, groups: Sequence[FeatureGroup]) -> History | None:
        """Returns the history of a table; None if there is none, or it is empty."""
        return None if frame is None or frame.isEmpty() else cls(frame, groups)

    def tiles(self, narrow: Narrow) -> DataFrame:
        """Returns the states of tiles, with PLACE."""
        kept = self._frame.where(F.col("at").isNull())
        return self._placed(narrow, kept, single=False).drop(MS, ROW)

    def events(self, narrow: Narrow) -> DataFrame:
        """Returns narrow rows of the single events."""
        return self._events(narrow)

    def _events(self, narrow: Narrow, *carried: str) -> DataFrame:
        kept = self._frame.where(F.col("at").isNotNull())
        return self._placed(narrow, kept, *carried, single=True)

    def states(self, groups: Sequence[FeatureGroup], span: str) -> DataFrame:
        """Returns the rows of COLUMNS and of a column `span`, without single events.

        Their states are those of their tiles. So this is for whoever reads a history only after all
        these events, such as an online store.

        Args:
          groups: Declarations.
          span: Column of this history that tells its spans apart.
        """
        narrow = _all_parts(groups)
        single = _states(narrow, self._events(narrow, span), span)
        tiles = self._frame.where("entity is not null and at is null").select(*single.columns)
        return tiles.unionByName(single)

    def _placed(self, narrow: Narrow, kept: DataFrame, *carried: str, single: bool) -> DataFrame:
        """Returns the rows of declared entities."""
        cases = [
            F.when(F.col("entity") == entity.name, F.lit(number))
            for number, entity in enumerate(narrow.entities)
        ]
        where = placed(F.coalesce(*cases), F.col("key"), F.col("tile"))
        columns = [
            self._unpacked(part, single).alias(name) for part, name in narrow.columns.items()
        ]
        null = F.lit(None).alias(ROW)
        found = kept.select(*where, F.col("at").alias(MS), null, *columns, *carried)
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


def _lines(frame: DataFrame) -> list[dict[str, Any]]:
    """Returns the declarations in a history.

    Raises:
      ConfigError: There are none, so the table is not a history.
    """
    line = F.element_at("texts", F.lit(DECLARED))
    found = frame.where(F.col("entity").isNull()).select(line).distinct().collect()
    if not found:
        raise ConfigError(
            "expected a history of earlier hours, which says what was declared. Received: a table "
            "without that line; see features/history.py"
        )
    return [json.loads(declared) for (declared,) in found]


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


def _states(narrow: Narrow, events: DataFrame, *carried: str) -> DataFrame:
    """Returns the rows of COLUMNS with the states of events' tiles, for each value of `carried`."""
    within = (*PLACE, *carried)
    running = narrow.running(events, {part.stream for part in narrow.columns}, within)
    states = [p.of_values(F.col(n), over(None)).alias(n) for p, n in narrow.columns.items()]
    tiles = running.groupBy(*within).agg(*states).withColumn(MS, F.lit(None).cast("long"))
    return _packed(tiles, narrow, *carried, single=False)


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


def _packed(rows: DataFrame, narrow: Narrow, *carried: str, single: bool) -> DataFrame:
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
    return rows.select(*(column.alias(name) for name, column in where.items()), *maps, *carried)


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
