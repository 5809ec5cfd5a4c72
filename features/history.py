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
from collections.abc import Iterable, Mapping, Sequence
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
    TILE,
    Entity,
    Narrow,
    placed,
    united,
)
from features.groups import FeatureGroup, check
from features.parts import MS, Ends, Moments, Part, Sketch, over

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
    parts = dict.fromkeys(part for group in groups for part in group.parts())
    narrow = Narrow.of(groups, {part: f"_s{place}" for place, part in enumerate(parts)})
    needed = sorted({part.stream for part in narrow.columns})
    events = united([narrow.rows(streams[name], time, name, None) for name in needed])
    _check_types(narrow, events)
    in_span = narrow.running(events.where(F.col(MS) < until_ms), needed)
    states = [
        p.of_values(F.col(name), over(None)).alias(name) for p, name in narrow.columns.items()
    ]
    tiles = in_span.groupBy(*PLACE).agg(*states)
    tables = [
        _packed(tiles.withColumn(MS, F.lit(None).cast("long")), narrow, single=False),
        _packed(events.where(F.col(MS) >= until_ms), narrow, single=True),
    ]
    declared = {DECLARED: json.dumps(_declared(groups))}
    line: list[tuple[Any, ...]] = [(None, DECLARED, None, None, {}, {}, declared)]
    schema = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    return united([events.sparkSession.createDataFrame(line, schema), *tables])


class History:
    """Reads the history of earlier spans.

    Args:
      frame: Rows of COLUMNS.
      groups: Declarations.

    Raises:
      ConfigError: The history was written without the states of a group.
    """

    def __init__(self, frame: DataFrame, groups: Sequence[FeatureGroup]) -> None:
        self._frame = frame
        wanted = {tuple(pair) for pair in _declared(groups)}
        line = F.element_at("texts", F.lit(DECLARED))
        for (declared,) in frame.where(F.col("entity").isNull()).select(line).distinct().collect():
            lacking = wanted - {tuple(pair) for pair in json.loads(declared)}
            for group in groups:
                for part in group.parts():
                    if (Entity.of(group).name, part.name) in lacking:
                        raise ConfigError(
                            f"feature group '{group.name}': the history of earlier hours was "
                            "written without it, so its values would be those of entities without "
                            "a past. Write the history of these hours again with the present "
                            "declarations"
                        )

    def tiles(self, narrow: Narrow, like: DataFrame) -> DataFrame:
        """Returns the states of tiles.

        Args:
          narrow: Entities and parts.
          like: Tiles with the columns of the result, for their types.
        """
        states = [
            _unpacked(part, like.schema[name].dataType, single=False).alias(name)
            for part, name in narrow.columns.items()
        ]
        kept = self._frame.where(F.col("at").isNull())
        return self._placed(narrow, kept, states).drop(MS)

    def events(self, narrow: Narrow, like: Mapping[str | None, DataFrame]) -> DataFrame:
        """Returns narrow rows of the single events.

        Args:
          narrow: Entities and parts.
          like: Stream -> narrow rows of other events, for the types of their values.
        """
        values = [
            _unpacked(part, like[part.stream].schema[name].dataType, single=True).alias(name)
            for part, name in narrow.columns.items()
        ]
        kept = self._frame.where(F.col("at").isNotNull())
        return self._placed(narrow, kept, values)

    def _placed(self, narrow: Narrow, kept: DataFrame, columns: Iterable[Column]) -> DataFrame:
        """Returns the rows of declared entities."""
        cases = [
            F.when(F.col("entity") == entity.name, F.lit(number))
            for number, entity in enumerate(narrow.entities)
        ]
        where = placed(F.coalesce(*cases), F.col("key"), F.col("tile"))
        found = kept.select(*where, F.col("at").alias(MS), *columns)
        return found.where(F.col(ENTITY).isNotNull())


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


def _check_types(narrow: Narrow, events: DataFrame) -> None:
    """Checks that JSON can keep the columns of first and last events."""
    for part, name in narrow.columns.items():
        if isinstance(part, Ends):
            kinds: Any = events.schema[name].dataType
            for column, field in zip(part.columns, kinds.fields[1:], strict=True):
                if not isinstance(field.dataType, _PLAIN):
                    raise ConfigError(
                        f"the column '{column}' of the stream '{part.stream}': a history keeps "
                        "texts, numbers and booleans of first and last events. Received: "
                        f"{field.dataType.simpleString()}; cast it in the ETL"
                    )


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


def _unpacked(part: Part, kind: T.DataType, *, single: bool) -> Column:
    """Returns the state, or the value of a single event; `kind` is its type."""

    def kept(key: str) -> Column:
        return F.element_at(_kept_in(part, single), F.lit(key))

    if isinstance(part, Moments) and not single:
        count, *others = (kept(f"{part.name}.{field}").alias(field) for field in _MOMENTS)
        state = F.struct(count.cast("long").alias("count"), *others)
        return F.when(count.isNotNull(), state)
    if isinstance(part, Ends):
        return F.from_json(kept(part.name), kind)  # type: ignore[arg-type]
    return kept(part.name).cast(kind)
