"""Merges the rows of windows into the states of many entities at once, with numpy.

It is what Spark does in parts.py. Windows of one entity end at the same time, so a longer one has
all rows of a shorter one. Each row is merged once, in the shortest window that has it (its band),
and then the bands are merged from the shortest window to the longest. Sums are only ever added,
never taken away again: the difference of two long sums would lose what is small.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
from datasketches import hll_sketch, hll_union
from numpy.typing import NDArray

from features.online_ends import EndTiles
from features.online_values import MOMENTS, Floats, Ints, Layout, Rows
from features.parts import SKETCH_LOG2_REGISTERS, Ends, Moments, Number, Part, Sketch
from features.window_states import WindowStates

_EXTREMES: dict[str, tuple[np.ufunc, float]] = {
    "min": (np.minimum, math.inf),
    "max": (np.maximum, -math.inf),
}


class Windows:
    """The rows of entities by entity and window.

    Args:
      rows: Rows of the entities.
      counts: Which of them count.
      layout: Their columns.
      entities: Number of entities.
      lengths: Lengths of the windows in milliseconds, ascending.
      tile: Start of the tile of the request in epoch milliseconds; windows are before it.
    """

    def __init__(
        self,
        rows: Rows,
        counts: NDArray[np.bool_],
        layout: Layout,
        entities: int,
        lengths: Sequence[int],
        tile: int,
    ):
        self._layout, self._shape = layout, (entities, len(lengths))
        age = tile - rows.tiles
        bands: Ints = np.searchsorted(lengths, age)
        within = counts & (age >= 0) & (bands < len(lengths))
        if not within.all():
            rows, bands = rows.where(within), bands[within]
        self._rows, self._bands = rows, bands
        self._cells: Ints = rows.owners * len(lengths) + bands
        self._known: NDArray[np.bool_] | None = None
        self._numbers = np.ascontiguousarray(rows.numbers.T)
        self._missing = np.isnan(self._numbers)
        self._have_missing = self._missing.any(axis=1).tolist()

    def states(self, part: Part, types: Mapping[str, Sequence[str]], now_ms: int) -> WindowStates:
        """Returns the states of a part, [entities, windows].

        Args:
          part: The part.
          types: Name of a part of first or last events -> types of its columns, as Spark says.
          now_ms: Time of the request; a later event does not count among first and last events.
        """
        if isinstance(part, Moments):
            return self._moments(part)
        if isinstance(part, Sketch):
            return self._distinct(part)
        if isinstance(part, Ends):
            return self._ends(part, types.get(part.name, ()), now_ms)
        cells, known, values = self._there(part.name)
        if isinstance(part, Number) and part.kind in _EXTREMES:
            merge, start = _EXTREMES[part.kind]
            found = np.full(math.prod(self._shape), start)
            merge.at(found, cells, values)
            return WindowStates(merge.accumulate(found.reshape(self._shape), axis=1), known)
        return WindowStates(np.cumsum(self._sums(cells, values), axis=1), known)

    def _sums(self, cells: Ints, values: Floats | None = None) -> NDArray[Any]:
        """Returns the sums of values by entity and band, or the numbers of rows."""
        return np.bincount(cells, values, math.prod(self._shape)).reshape(self._shape)

    def _counted(self, cells: Ints) -> NDArray[np.bool_]:
        """Returns which windows have any of these rows."""
        found: NDArray[np.bool_] = np.cumsum(self._sums(cells), axis=1) > 0
        return found

    def _there(self, column: str) -> tuple[Ints, NDArray[np.bool_], Floats]:
        """Returns the cells of the rows that have a number, the windows with any, the numbers."""
        place = self._layout.numbers.index(column)
        values = self._numbers[place]
        if self._have_missing[place]:
            there = ~self._missing[place]
            cells = self._cells[there]
            return cells, self._counted(cells), values[there]
        if self._known is None:
            self._known = self._counted(self._cells)
        return self._cells, self._known, values

    def _moments(self, part: Moments) -> WindowStates:
        first = self._layout.numbers.index(f"{part.name}.{MOMENTS[0]}")
        count, mean, squares = self._numbers[first : first + 3]
        there = ~self._missing[first]
        cells, count, mean, squares = (a[there] for a in (self._cells, count, mean, squares))
        total = self._sums(cells, count)
        with np.errstate(invalid="ignore", divide="ignore"):
            middle = self._sums(cells, count * mean) / total
        apart = count * (mean - middle.ravel()[cells]) ** 2
        bands = np.stack([total, middle, self._sums(cells, squares + apart)], axis=-1)
        bands[total == 0] = 0
        for band in range(1, self._shape[1]):
            bands[:, band] = _merged_moments(bands[:, band - 1], bands[:, band])
        return WindowStates(bands, bands[..., 0] > 0)

    def _distinct(self, part: Sketch) -> WindowStates:
        column = self._layout.blobs.index(part.name)
        places = np.flatnonzero(self._rows.blobs.are_there(column))
        places = places[np.argsort(self._cells[places], kind="stable")]
        cells, sketches = self._cells[places], self._rows.blobs.column(column, places)
        starts = np.flatnonzero(np.diff(cells, prepend=-1))  # of each entity and band
        ends = np.append(starts, len(cells))[1:]
        found, before = np.zeros(self._shape), -1
        read = hll_sketch.deserialize
        for cell, start, end in zip(cells[starts], starts, ends, strict=True):
            owner, band = divmod(int(cell), self._shape[1])
            if owner != before:
                before, union = owner, hll_union(SKETCH_LOG2_REGISTERS)
            for sketch in sketches[start:end]:
                union.update(read(sketch))
            found[owner, band:] = union.get_estimate()
        return WindowStates(found, self._counted(cells))

    def _ends(self, part: Ends, types: Sequence[str], now_ms: int) -> WindowStates:
        rows, column = self._rows, self._layout.blobs.index(part.name)
        there = np.flatnonzero(rows.blobs.are_there(column))
        nearest = -rows.tiles[there] if part.last else rows.tiles[there]
        places = there[np.lexsort((nearest, rows.owners[there]))]
        found = np.empty(self._shape, object)
        for owner, some in groupby(places.tolist(), rows.owners.item):
            mine = np.array([*some])
            texts = partial(rows.blobs.where(mine).at, column=column)
            tiles, bands = rows.tiles[mine].tolist(), self._bands[mine].tolist()
            of_tiles = EndTiles(part, tiles, bands, texts, types, now_ms)
            for window in range(self._shape[1]):
                found[owner, window] = of_tiles.of_window(window)
        return WindowStates(found, found.astype(bool))


def _merged_moments(one: Floats, other: Floats) -> Floats:
    """Returns the moments of both, [entities, 3], by Chan's formula."""
    count = one[:, 0] + other[:, 0]
    apart = other[:, 1] - one[:, 1]
    with np.errstate(invalid="ignore", divide="ignore"):  # without events on either side
        mean = one[:, 1] + apart * other[:, 0] / count
        squares = one[:, 2] + other[:, 2] + apart * apart * one[:, 0] * other[:, 0] / count
    both = np.stack([count, mean, squares], axis=-1)
    return np.where(one[:, :1] == 0, other, np.where(other[:, :1] == 0, one, both))
