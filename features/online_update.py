"""Writes the past of entities into an online store, from the histories of spans.

    closed     (entity, key) -> its rows of closed spans; an update writes the keys of new spans
    open       (entity, key) -> its rows of the spans that are not closed; replaced every time
    profiles   (kind, key) -> JSON of what the application knows about it; replaced when it changes

The description of `closed` lists the spans that count, each with its version, and is written last.
So half an update is not visible, a span that was closed again replaces its rows at once, and old
spans end without a search for their rows. This module does not use Spark.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from base.section import ConfigError
from features.events import Entity, entities_of
from features.groups import FeatureGroup
from features.online_store import Key, OnlineStore, OnlineStoreError
from features.online_values import Blobs, Layout, Rows, Spans, decoded, encoded, span_code
from features.parts import Part

CLOSED, OPEN, PROFILES = "closed", "open", "profiles"
_AT_ONCE = 2_000  # keys read and written together
_SWEEP = 24  # spans between two removals of what no longer counts


@dataclasses.dataclass(frozen=True)
class StateRow:
    """The states of one tile; see the COLUMNS of history.py.

    Attributes:
      entity: Name of the entity.
      key: Text of its keys.
      span: Span that the events belong to.
      tile: Start of the tile in epoch milliseconds.
      numbers: Part -> number.
      blobs: Part -> sketch, or JSON of first or last events.
    """

    entity: str
    key: str
    span: int
    tile: int
    numbers: Mapping[str, float]
    blobs: Mapping[str, bytes]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> StateRow:
        """Returns a row of History.states; its maps may be lists of pairs."""
        texts = {name: text.encode() for name, text in dict(row["texts"]).items()}
        return cls(
            row["entity"],
            row["key"],
            row["span"],
            row["tile"],
            dict(row["numbers"]),
            {**dict(row["sketches"]), **texts},
        )


@dataclasses.dataclass(frozen=True)
class States:
    """The history of some spans.

    Attributes:
      rows: Its rows, sorted by entity and key.
      types: Types of the columns of first and last events, as in History.
    """

    rows: Iterable[StateRow]
    types: Mapping[str, Sequence[str]]


def parts_of(groups: Sequence[FeatureGroup]) -> dict[str, list[Part]]:
    """Returns name of an entity -> its parts, each once, in one order."""
    found: dict[str, list[Part]] = {entity.name: [] for entity in entities_of(groups)}
    for group in groups:
        parts = found[Entity.of(group).name]
        parts += [part for part in group.parts() if part not in parts]
    return found


class OnlineUpdate:
    """Keeps an online store up to date with closed and open spans. One process at a time.

    Args:
      store: The store.
      groups: Declarations. A store of other declarations is written anew.
      origin: Text that identifies where the spans are. Two origins have different spans of one
        number and version, so a store takes those of one.

    Raises:
      OnlineStoreError: Another origin has written to the store.
    """

    def __init__(self, store: OnlineStore, groups: Sequence[FeatureGroup], origin: str):
        self._store, self._origin = store, origin
        for table in (CLOSED, OPEN):
            other = (store.meta(table) or {}).get("origin", origin)
            if other != origin:
                raise OnlineStoreError(
                    "the online store has the past of another streaming folder (written as "
                    f"{other}, ours is {origin}). If that folder is gone, clear the store; else "
                    "give this pipeline another `name` or online_redis.db"
                )
        self._layouts = {name: Layout.of(parts) for name, parts in parts_of(groups).items()}
        named = {name: [one.numbers, one.blobs] for name, one in self._layouts.items()}
        self._declared = json.dumps(named)

    def write_closed(
        self, spans: Mapping[int, int], states_of: Callable[[Sequence[int]], States]
    ) -> None:
        """Updates the closed spans; only new and changed ones are read.

        Args:
          spans: Wanted span -> its version.
          states_of: Function from spans to their states.

        Raises:
          ConfigError: A column of first or last events has one type in one span and another in
            another.
        """
        meta = self._store.meta(CLOSED)
        if meta is None or meta["declared"] != self._declared:
            self._write_anew(spans, states_of(sorted(spans)))
            return
        known = {int(span): version for span, version in meta["spans"].items()}
        if known == dict(spans):
            return
        new = sorted(span for span, version in spans.items() if known.get(span) != version)
        states = states_of(new) if new else States((), {})
        meta = {**meta, "spans": dict(spans), "types": _agreeing(meta["types"], states.types)}
        kept = [Spans(known), Spans({s: v for s, v in spans.items() if s not in set(new)})]
        self._store.update(CLOSED, self._with_new(states.rows, spans, kept), meta)
        if max(spans, default=0) - meta["swept"] >= _SWEEP:
            swept = {**meta, "swept": max(spans)}
            self._store.replace(CLOSED, self._swept(Spans(spans)), swept)

    def _write_anew(self, spans: Mapping[int, int], states: States) -> None:
        """Replaces all closed spans at once; until then, readers of others have theirs."""
        values = ((key, encoded(rows)) for key, rows in self._by_key(states.rows, spans))
        meta = {
            "declared": self._declared,
            "origin": self._origin,
            "spans": dict(spans),
            "types": dict(states.types),
            "swept": max(spans, default=0),
        }
        self._store.replace(CLOSED, values, meta)

    def write_open(self, as_of_ms: int, states: States) -> None:
        """Replaces the states of the spans that are not closed.

        Args:
          as_of_ms: Time up to which events are included, in epoch milliseconds.
          states: States of these spans. `closed` is up to date.
        """
        versions: dict[int, int] = defaultdict(int)  # an open span has no version
        values = ((key, encoded(rows)) for key, rows in self._by_key(states.rows, versions))
        meta = {
            "declared": self._declared,
            "origin": self._origin,
            "as_of_ms": as_of_ms,
            "types": dict(states.types),
        }
        self._store.replace(OPEN, values, meta)

    def write_profiles(
        self, version: str, profiles: Iterable[tuple[str, str, Mapping[str, Any]]]
    ) -> None:
        """Replaces the profiles if their version has changed.

        Args:
          version: Version of the profiles' source.
          profiles: Rows (kind, key, column -> value).
        """
        meta = self._store.meta(PROFILES)
        if meta is None or meta["version"] != version:
            values = (
                ((kind, key), json.dumps(profile).encode()) for kind, key, profile in profiles
            )
            self._store.replace(PROFILES, values, {"version": version})

    def _with_new(
        self, rows: Iterable[StateRow], spans: Mapping[int, int], kept: Sequence[Spans]
    ) -> Iterator[tuple[Key, bytes]]:
        """Yields the values of the keys of new spans.

        Args:
          rows: Rows of the new spans.
          spans: Span -> its version.
          kept: Spans whose rows stay. Those that have counted until now are among them, since
            readers count them until the description changes.
        """
        for some in _in_pieces(self._by_key(rows, spans)):
            ((_, before),) = self._store.get_many([CLOSED], [key for key, _ in some])
            for (key, added), value in zip(some, before, strict=True):
                layout = self._layouts[key[0]]
                old = decoded([value], layout)
                stay = np.logical_or.reduce([one.are_in(old) for one in kept])
                yield key, encoded(old.where(stay).with_others(added))

    def _swept(self, spans: Spans) -> Iterator[tuple[Key, bytes]]:
        """Yields all values without the rows that do not count, and without empty ones."""
        for key, value in self._store.all(CLOSED):
            rows = decoded([value], self._layouts[key[0]])
            kept = rows.where(spans.are_in(rows))
            if len(kept.tiles):
                yield key, encoded(kept)

    def _by_key(
        self, rows: Iterable[StateRow], versions: Mapping[int, int]
    ) -> Iterator[tuple[Key, Rows]]:
        """Yields the rows of each declared entity and key; `versions` are those of the spans."""
        for key, some in groupby(rows, lambda row: (row.entity, row.key)):
            layout = self._layouts.get(key[0])
            if layout is None:
                continue
            tiles = list(some)
            numbers = [[row.numbers.get(n, math.nan) for n in layout.numbers] for row in tiles]
            yield (
                key,
                Rows(
                    np.zeros(len(tiles), np.int64),
                    np.array([span_code(row.span, versions[row.span]) for row in tiles]),
                    np.array([row.tile for row in tiles], np.int64),
                    np.array(numbers, np.float64).reshape(len(tiles), len(layout.numbers)),
                    Blobs.of_rows(
                        [[row.blobs.get(n) for n in layout.blobs] for row in tiles],
                        len(layout.blobs),
                    ),
                ),
            )


def _in_pieces(rows: Iterable[tuple[Key, Rows]]) -> Iterator[list[tuple[Key, Rows]]]:
    some: list[tuple[Key, Rows]] = []
    for row in rows:
        some.append(row)
        if len(some) == _AT_ONCE:
            yield some
            some = []
    if some:
        yield some


def _agreeing(
    known: Mapping[str, Sequence[str]], types: Mapping[str, Sequence[str]]
) -> dict[str, Sequence[str]]:
    """Returns the types of both."""
    for name, one in types.items():
        if list(known.get(name, one)) != list(one):
            raise ConfigError(
                f"columns of first or last events have the types {', '.join(known[name])} in one "
                f"hour and {', '.join(one)} in another. Write the history of these hours again"
            )
    return {**known, **types}
