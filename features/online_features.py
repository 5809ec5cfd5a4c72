"""Looks the features of the past up for serving, in an online store.

They come from the same states as those of the batch (history.py), so serving gets the values that
the ETL computes for a row at the same time. Tests compare them value by value. This module does not
use Spark.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from base.durations import milliseconds
from features.entity_keys import key_text
from features.events import Entity, entities_of
from features.groups import FeatureGroup
from features.online_store import Key, OnlineStore, OnlineStoreError
from features.online_update import CLOSED, OPEN, PROFILES, parts_of
from features.online_values import Layout, Spans, decoded
from features.online_windows import Windows
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
            *computed, unknown = entity.columns(
                opened[start:end], closed[start:end], spans, types, now_ms
            )
            start = end
            by_text: dict[str | None, dict[str, Any]] = dict(zip(mine, computed, strict=True))
            for row, text in zip(found, texts, strict=True):
                row.update(by_text.get(text, unknown))
        return found

    def profiles(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, dict[str, dict[str, Any]]]:
        """Returns kind -> key -> profile, without unknown keys, from one read of the store.

        Args:
          wanted: Kind -> keys.
        """
        keys = [(kind, key) for kind, some in wanted.items() for key in dict.fromkeys(some)]
        ((_, values),) = self._store.get_many([PROFILES], keys)
        found: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in wanted}
        for (kind, key), value in zip(keys, values, strict=True):
            if value is not None:
                found[kind][key] = json.loads(value)
        return found

    def _check(self, *declarations: str) -> None:
        for text in declarations:
            if text == self._known_as:
                continue
            declared = json.loads(text)
            for entity in self._entities:
                layout = entity.layout
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
        self.layout = Layout.of(parts)
        mine = [group for group in groups if Entity.of(group) == entity]
        self._lengths = sorted({milliseconds(w) for group in mine for w in group.windows})
        self._names = [name for group in mine for name in group.column_names()]
        self._parts = parts
        # For each group the numbers of its windows, and its aggregations with those of their parts.
        self._results = [
            (
                [self._lengths.index(milliseconds(window)) for window in group.windows],
                [
                    (one, [parts.index(part) for part in one.parts(group.stream, group.where)])
                    for one in group.aggregations
                ],
            )
            for group in mine
        ]

    def texts(self, rows: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """Returns the text of each row's keys."""
        columns = [[row.get(name) for row in rows] for name in self._keys]
        return [*map(key_text, zip(*columns, strict=True))]

    def columns(
        self,
        opened: Sequence[bytes | None],
        closed: Sequence[bytes | None],
        spans: Spans,
        types: Mapping[str, Sequence[str]],
        now_ms: int,
    ) -> list[dict[str, Any]]:
        """Returns the columns of each entity, and last those of one without a past.

        Args:
          opened: Values of the open spans.
          closed: Values of the closed spans.
          spans: Closed spans that count.
          types: History.types.
          now_ms: Time of the request, in epoch milliseconds.
        """
        rows = decoded(closed, self.layout)
        counts = spans.are_in(rows)
        from_open = decoded(opened, self.layout)
        if len(from_open.tiles):
            rows = rows.with_others(from_open)
            counts = np.concatenate([counts, spans.are_not_in(from_open)])
        tile = now_ms // self._tile_ms * self._tile_ms
        windows = Windows(rows, counts, self.layout, len(opened) + 1, self._lengths, tile)
        states = [windows.states(part, types, now_ms) for part in self._parts]
        columns: list[list[Any]] = []
        for numbers, aggregations in self._results:
            of_windows = [
                values.T.tolist()
                for one, places in aggregations
                for values in one.values([states[place].at(numbers) for place in places], now_ms)
            ]
            columns += [values[place] for place in range(len(numbers)) for values in of_windows]
        return [dict(zip(self._names, one, strict=True)) for one in zip(*columns, strict=True)]
