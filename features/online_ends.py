"""The first or last events of the windows of one entity, from the JSON of its tiles."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from features.parts import MS, Ends

Entry = list[Any]  # time of an event in epoch milliseconds, and its columns


class EndTiles:
    """The tiles of an entity that have first or last events.

    Args:
      part: The part.
      tiles: Start of each tile, ascending for first events and descending for last events.
      bands: Number of the shortest window that has the tile.
      texts: Function from the place of a tile in these lists to the JSON of its events.
      types: Types of the events' columns, as Spark says.
      now_ms: Time of the request; a later event does not count.
    """

    def __init__(
        self,
        part: Ends,
        tiles: Sequence[int],
        bands: Sequence[int],
        texts: Callable[[int], bytes],
        types: Sequence[str],
        now_ms: int,
    ):
        self._part, self._tiles, self._bands = part, tiles, bands
        self._texts, self._types, self._now_ms = texts, types, now_ms
        self._from: dict[int, list[tuple[int, Entry]]] = {}

    def of_window(self, window: int) -> list[Entry] | None:
        """Returns the events of a window, by its number; None without events."""
        first = 0
        while not self._part.last and first < len(self._bands) and self._bands[first] > window:
            first += 1
        if first not in self._from:
            self._from[first] = self._nearest(first)
        entries = [entry for band, entry in self._from[first] if band <= window]
        return entries[: self._part.length] or None

    def _nearest(self, first: int) -> list[tuple[int, Entry]]:
        """Returns band and event of enough tiles, in the order of the events."""
        found: list[tuple[int, Entry]] = []
        newest = None
        for place in range(first, len(self._tiles)):
            # Tiles do not overlap: what is in the next one comes after all these events. But a tile
            # can have rows of several spans.
            if len(found) >= self._part.length and newest != self._tiles[place]:
                break
            newest = self._tiles[place]
            for event in json.loads(self._texts(place)):
                if event[MS] < self._now_ms:
                    values = (_plain(event.get(f"c{n}"), t) for n, t in enumerate(self._types))
                    found.append((self._bands[place], [event[MS], *values]))
        found.sort(key=_order, reverse=self._part.last)
        return found


def _plain(value: Any, kind: str) -> Any:
    """Returns a value of Spark's JSON, which writes NaN and infinity as texts."""
    return float(value) if kind in ("float", "double") and value is not None else value


def _order(found: tuple[int, Entry]) -> list[Any]:
    """Returns what Spark sorts structs by: nulls first, NaN last."""
    return [
        (value is not None, isinstance(value, float) and math.isnan(value), value)
        for value in found[1]
    ]
