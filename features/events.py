"""Narrow rows of events: who an event is about, when it happened, and what it adds to each part.

An event becomes one row for each entity, that is for each set of keys and length of tiles.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from features.entity_keys import key_column
from features.groups import FeatureGroup
from features.parts import MS, Ends, Part

ENTITY, KEY, TILE, ROW = "_entity", "_key", "_tile", "_row"
# Spark sorts by the first eight bytes before it compares rows: a hash tells most places apart.
HASH = "_hash"
PLACE = (HASH, ENTITY, TILE, KEY)
_AT = "_at"


@dataclasses.dataclass(frozen=True)
class Entity:
    """Keys and a length of tiles. Groups that have both in common are computed together."""

    keys: tuple[str, ...]
    tile_ms: int

    @property
    def name(self) -> str:
        """Returns a text that no other entity has."""
        return json.dumps([*self.keys, self.tile_ms])

    @classmethod
    def of(cls, group: FeatureGroup) -> Entity:
        """Returns the entity of a group."""
        return cls(group.keys, group.tile_ms)


def entities_of(groups: Iterable[FeatureGroup]) -> list[Entity]:
    """Returns the entities of groups, each once. Its place in the list is the entity's number."""
    return list(dict.fromkeys(Entity.of(group) for group in groups))


def placed(number: Column, key: Column, tile: Column) -> list[Column]:
    """Returns the columns of PLACE."""
    return [
        F.xxhash64(number, key, tile).alias(HASH),
        number.alias(ENTITY),
        tile.alias(TILE),
        key.alias(KEY),
    ]


@dataclasses.dataclass(frozen=True)
class Narrow:
    """Turns events into narrow rows.

    Attributes:
      entities: Entity by number.
      columns: Part -> the column of what events put into it.
      takers: Part -> numbers of the entities that need it.
    """

    entities: Sequence[Entity]
    columns: dict[Part, str]
    takers: dict[Part, list[int]]

    @classmethod
    def of(cls, groups: Sequence[FeatureGroup], columns: dict[Part, str]) -> Narrow:
        """Returns what turns events into the rows of some parts of groups."""
        entities = entities_of(groups)
        takers = {
            part: sorted(
                {entities.index(Entity.of(group)) for group in groups if part in group.parts()}
            )
            for part in columns
        }
        return cls(entities, columns, takers)

    def rows(
        self, frame: DataFrame, time: str, stream: str | None, identity: str | None
    ) -> DataFrame:
        """Returns a row for each event and entity.

        Args:
          frame: Events, rows, or both in one.
          time: Column with their time.
          stream: Stream of the events; None for rows alone.
          identity: Column with the id of the rows; None for events alone.

        Returns:
          PLACE, which says where the event belongs, its time in MS, the id of the row in ROW, and
          what the event puts into each part.
        """
        parts = [part for part in self.columns if part.stream == stream]
        takers = self.columns if identity else parts
        everywhere = set().union(*(self.takers[part] for part in takers))
        values = [part.value().alias(self.columns[part]) for part in parts]
        narrow = frame.withColumn(MS, F.col(time).cast("long")).select(
            MS,
            (F.col(identity) if identity else F.lit(None)).alias(ROW),
            *values,
            F.explode(F.array(*map(self._place, sorted(everywhere)))).alias(_AT),
        )
        masked = [
            F.when(F.col(f"{_AT}.{ENTITY}").isin(sorted(self.takers[part])), F.col(name)).alias(
                name
            )
            for part, name in self.columns.items()
            if part in parts
        ]
        known = F.col(KEY).isNotNull() & F.col(TILE).isNotNull()
        return narrow.select(f"{_AT}.*", MS, ROW, *masked).where(known)

    def _place(self, number: int) -> Column:
        entity = self.entities[number]
        tile = (F.floor(F.col(MS) / entity.tile_ms) * entity.tile_ms).cast("long")
        return F.struct(*placed(F.lit(number), key_column(entity.keys), tile))

    def running(self, events: DataFrame, streams: Iterable[str]) -> DataFrame:
        """Returns narrow rows in which the values of Ends of these streams are lists so far."""
        ends = [part for part in self.columns if isinstance(part, Ends) and part.stream in streams]
        if ends:
            events = events.repartition(*PLACE)
        for part in ends:
            events = part.running(events, self.columns[part], PLACE)
        return events


def united(frames: Sequence[DataFrame]) -> DataFrame:
    """Returns all rows; a column that one frame does not have is null there."""
    return reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), frames)
