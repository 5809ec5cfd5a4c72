"""Looks the features of the past up for serving, in an online store.

They come from the same states as those of the batch (history.py), so serving gets the values that
the ETL computes for a row at the same time. Tests compare them value by value. This module does not
use Spark.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from base.durations import milliseconds
from features.entity_keys import key_text
from features.events import Entity, entities_of
from features.groups import FeatureGroup
from features.online_store import Key, OnlineStore, OnlineStoreError
from features.online_update import CLOSED, OPEN, PROFILES, parts_of
from features.online_values import Merger, Rows, Spans, decoded
from features.parts import Part


class OnlineFeatures:
    """Computes the columns of feature groups as of a time.

    Args:
      store: Store that OnlineUpdate writes.
      groups: The declarations it was written with.
    """

    def __init__(self, store: OnlineStore, groups: Sequence[FeatureGroup]):
        self._store = store
        self._entities = [
            _EntityColumns(entity, groups, parts)
            for entity, parts in zip(entities_of(groups), parts_of(groups).values(), strict=True)
        ]
        self._known_as = ""  # declarations of the store that were compared with ours

    def as_of(self) -> int:
        """Returns the time up to which events are included, epoch milliseconds; 0 if none are."""
        meta = self._store.meta(OPEN)
        return 0 if meta is None else int(meta["as_of_ms"])

    def columns(self, rows: Sequence[Mapping[str, Any]], now_ms: int) -> list[dict[str, Any]]:
        """Returns the columns of all groups for each row.

        Args:
          rows: Rows with the keys of all groups; a missing or None key is an entity without a past.
          now_ms: Time of the request, in epoch milliseconds.

        Raises:
          OnlineStoreError: The store cannot be used, or was written for other declarations.
          TypeError: A key is neither text nor a whole number.
        """
        asked = [entity.texts(rows) for entity in self._entities]
        known = [[text for text in dict.fromkeys(texts) if text is not None] for texts in asked]
        keys: list[Key] = [
            (entity.name, text)
            for entity, texts in zip(self._entities, known, strict=True)
            for text in texts
        ]
        # Open spans first: a span that is closed in between is then in both, and never in none.
        (open_meta, opened), (closed_meta, closed) = self._store.get_many([OPEN, CLOSED], keys)
        self._check(closed_meta["declared"], open_meta["declared"])
        spans = Spans({int(span): version for span, version in closed_meta["spans"].items()})
        types = {**open_meta["types"], **closed_meta["types"]}
        found: list[dict[str, Any]] = [{} for _ in rows]
        start = 0
        for entity, texts, mine in zip(self._entities, asked, known, strict=True):
            end = start + len(mine)
            values = opened[start:end], closed[start:end]
            start = end
            computed = entity.columns(*values, spans, types, now_ms)
            places: dict[str | None, int] = {text: place for place, text in enumerate(mine)}
            for row, text in zip(found, texts, strict=True):
                row.update(zip(entity.column_names, computed[places.get(text, -1)], strict=True))
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

    def _check(self, *declarations: str) -> None:
        for text in declarations:
            if text == self._known_as:
                continue
            declared = json.loads(text)
            for entity in self._entities:
                layout = entity.merger.layout
                if declared.get(entity.name) != [list(layout.numbers), list(layout.blobs)]:
                    raise OnlineStoreError(
                        "the online store was written for other feature groups than those "
                        "declared now. Update the process that writes it (python -m streaming "
                        "ingest) or this one, so that both have the same application"
                    )
            self._known_as = text


class _EntityColumns:
    """Computes the columns of the groups of one entity.

    Args:
      entity: The entity.
      groups: All groups.
      parts: Parts of the entity's groups.
    """

    def __init__(self, entity: Entity, groups: Sequence[FeatureGroup], parts: Sequence[Part]):
        self.name, self._keys, self._tile_ms = entity.name, entity.keys, entity.tile_ms
        self.merger = Merger(parts)
        self._results = [
            (milliseconds(window), aggregation.parts(group.stream, group.where), aggregation)
            for group in groups
            if Entity.of(group) == entity
            for window, aggregation, _ in group.results()
        ]
        self.column_names = [
            name for group in groups if Entity.of(group) == entity for name in group.column_names()
        ]

    def texts(self, rows: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """Returns the text of each row's keys."""
        return [key_text([row.get(name) for name in self._keys]) for row in rows]

    def columns(
        self,
        opened: Sequence[bytes | None],
        closed: Sequence[bytes | None],
        spans: Spans,
        types: Mapping[str, Sequence[str]],
        now_ms: int,
    ) -> list[tuple[Any, ...]]:
        """Returns the values of `column_names` for each entity, and last for one without a past.

        Args:
          opened: Values of the open spans.
          closed: Values of the closed spans.
          spans: Closed spans that count.
          types: History.types.
          now_ms: Time of the request, in epoch milliseconds.
        """
        layout, count = self.merger.layout, len(opened)
        from_open, from_closed = decoded(opened, layout), decoded(closed, layout)
        kept = [
            from_open.where(spans.are_not_in(from_open)),
            from_closed.where(spans.are_in(from_closed)),
        ]
        rows = Rows.joined(kept, layout)
        tile = now_ms // self._tile_ms * self._tile_ms
        lengths = {length for length, _, _ in self._results}
        within = {
            length: rows.where((rows.tiles >= tile - length) & (rows.tiles <= tile))
            for length in lengths
        }
        states: dict[tuple[Part, int], list[Any]] = {}
        columns: list[Sequence[Any]] = []
        for length, parts, aggregation in self._results:
            for part in parts:
                if (part, length) not in states:
                    merged = self.merger.states(part, within[length], count, types, now_ms)
                    states[part, length] = [*merged, None]
            of = zip(*(states[part, length] for part in parts), strict=True)
            columns += zip(*(aggregation.values(one, now_ms) for one in of), strict=True)
        return [*zip(*columns, strict=True)]
