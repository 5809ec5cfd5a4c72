"""Looks the features of the past up for serving, in an online store.

They come from the same states as those of the batch (history.py), so serving gets the values that
the ETL computes for a row at the same time. Tests compare them value by value. This module does not
use Spark.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from features.durations import milliseconds
from features.entity_keys import key_text
from features.events import Entity
from features.groups import FeatureGroup
from features.online_store import Key, OnlineStore, OnlineStoreError
from features.online_update import CLOSED, OPEN, PROFILES, parts_of
from features.online_values import Merger, Rows, decoded, of_spans, other_spans, span_code


class OnlineFeatures:
    """Computes the columns of feature groups as of a time.

    Args:
      store: Store that OnlineUpdate writes.
      groups: The declarations it was written with.

    Attributes:
      as_of_ms: Time up to which events are included, in epoch milliseconds, as of the last call.
    """

    def __init__(self, store: OnlineStore, groups: Sequence[FeatureGroup]):
        self._store, self._groups = store, groups
        self._parts = parts_of(groups)
        self.as_of_ms = 0

    def refresh(self) -> int:
        """Returns the present `as_of_ms`."""
        meta = self._store.meta(OPEN)
        self.as_of_ms = 0 if meta is None else int(meta["as_of_ms"])
        return self.as_of_ms

    def columns(self, rows: Sequence[Mapping[str, Any]], now_ms: int) -> list[dict[str, Any]]:
        """Returns the columns of all groups for each row.

        Args:
          rows: Rows with the keys of all groups; a missing or None key is an entity without a past.
          now_ms: Time of the request, in epoch milliseconds.

        Raises:
          OnlineStoreError: The store cannot be used, or was written for other declarations.
          TypeError: A key is neither text nor a whole number.
        """
        entities = list(dict.fromkeys(Entity.of(group) for group in self._groups))
        asked = {
            entity: [key_text([row.get(name) for name in entity.keys]) for row in rows]
            for entity in entities
        }
        keys: list[Key] = [
            (entity.name, key)
            for entity, texts in asked.items()
            for key in dict.fromkeys(texts)
            if key is not None
        ]
        # Open spans first: a span that is closed in between is then in both, and never in none.
        (open_meta, opened), (closed_meta, closed) = self._store.get_many([OPEN, CLOSED], keys)
        self._check(closed_meta)
        self.as_of_ms = int(open_meta["as_of_ms"])
        counting = [span_code(int(span), v) for span, v in closed_meta["spans"].items()]
        spans = [int(span) for span in closed_meta["spans"]]
        types = {**open_meta["types"], **closed_meta["types"]}
        values = dict(zip(keys, zip(opened, closed, strict=True), strict=True))
        found: list[dict[str, Any]] = [{} for _ in rows]
        for entity, texts in asked.items():
            known = [key for key in dict.fromkeys(texts) if key is not None]
            merger = Merger(self._parts[entity.name], types)
            sides: list[list[Rows]] = [[], []]
            for owner, key in enumerate(known):
                for side, value in zip(sides, values[entity.name, key], strict=True):
                    if value is not None:
                        side.append(decoded(value, owner))
            from_open, from_closed = (Rows.joined(side, merger.layout) for side in sides)
            kept = [other_spans(from_open, spans), of_spans(from_closed, counting)]
            joined = Rows.joined(kept, merger.layout)
            mine = [group for group in self._groups if Entity.of(group) == entity]
            columns = _computed(mine, merger, joined, len(known), now_ms)
            places: dict[str | None, int] = {key: place for place, key in enumerate(known)}
            for row, text in zip(found, texts, strict=True):
                row.update(columns[places.get(text, len(known))])
        return found

    def profiles(self, kind: str, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Returns key -> profile, without unknown keys."""
        wanted = list(dict.fromkeys(keys))
        ((_, values),) = self._store.get_many([PROFILES], [(kind, key) for key in wanted])
        return {
            key: json.loads(value)
            for key, value in zip(wanted, values, strict=True)
            if value is not None
        }

    def _check(self, meta: Mapping[str, Any]) -> None:
        declared = json.loads(meta["declared"])
        for name, parts in self._parts.items():
            layout = Merger(parts, {}).layout
            if declared.get(name) != [list(layout.numbers), list(layout.blobs)]:
                raise OnlineStoreError(
                    "the online store was written for other feature groups than those declared "
                    "now. Update the process that writes it (python -m streaming ingest) or this "
                    "one, so that both have the same application"
                )


def _computed(
    groups: Sequence[FeatureGroup], merger: Merger, rows: Rows, entities: int, now_ms: int
) -> list[dict[str, Any]]:
    """Returns the columns of each entity, and at the end those of one without a past."""
    columns: list[dict[str, Any]] = [{} for _ in range(entities + 1)]
    states: dict[Any, list[Any]] = {}
    within: dict[tuple[int, int], Rows] = {}
    for group in groups:
        tile = now_ms // group.tile_ms * group.tile_ms
        for window, aggregation, names in group.results():
            begin = tile - milliseconds(window)
            if (begin, tile) not in within:
                within[begin, tile] = rows.where((rows.tiles >= begin) & (rows.tiles <= tile))
            of = aggregation.parts(group.stream, group.where)
            for part in of:
                if (part, begin) not in states:
                    merged = merger.states(part, within[begin, tile], entities, now_ms)
                    states[part, begin] = [*merged, None]
            for row, *one in zip(columns, *(states[part, begin] for part in of), strict=True):
                row.update(zip(names, aggregation.values(one, now_ms), strict=True))
    return columns
