"""The past of one entity as bytes, and its features as of a time, with numpy.

A value has a row for each span and tile. Serving adds the rows of a window: what Spark does in
parts.py, for a hundred entities at once and without Spark.
"""

from __future__ import annotations

import dataclasses
import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.parts import MS, SKETCH_LOG2_REGISTERS, Ends, Moments, Number, Part, Sketch

MOMENTS = ("count", "mean", "squares")
_HEAD = struct.Struct("<IHH")  # rows, columns of numbers, columns of bytes
_VERSIONS = 1 << 20  # more versions of a span than there will be
_NONE = 0xFFFFFFFF  # length of a value that is not there
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Layout:
    """The columns of the parts of one entity.

    Attributes:
      numbers: Names of the columns of numbers.
      blobs: Names of the columns of bytes: sketches, and JSON of first and last events.
    """

    numbers: tuple[str, ...]
    blobs: tuple[str, ...]

    @classmethod
    def of(cls, parts: Sequence[Part]) -> Layout:
        """Returns the layout of an entity's parts."""
        numbers: list[str] = []
        blobs: list[str] = []
        for part in parts:
            if isinstance(part, Moments):
                numbers += [f"{part.name}.{field}" for field in MOMENTS]
            else:
                (blobs if isinstance(part, Ends | Sketch) else numbers).append(part.name)
        return cls(tuple(numbers), tuple(blobs))


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows of one or more entities.

    Attributes:
      owners: Number of the entity, [rows].
      spans: Code of the span that a row comes from (`span_code`), [rows].
      tiles: Start of its tile in epoch milliseconds, [rows].
      numbers: Numbers, [rows, columns]; NaN for one that is not there.
      blobs: Bytes, [rows, columns]; None for those that are not there.
    """

    owners: Ints
    spans: Ints
    tiles: Ints
    numbers: Floats
    blobs: NDArray[np.object_]

    def where(self, kept: NDArray[Any]) -> Rows:
        """Returns some of the rows, by a mask or by their places."""
        return Rows(
            self.owners[kept],
            self.spans[kept],
            self.tiles[kept],
            self.numbers[kept],
            self.blobs[kept],
        )

    @classmethod
    def joined(cls, some: Sequence[Rows], layout: Layout) -> Rows:
        """Returns the rows of all."""
        empty = np.zeros(0, np.int64)
        numbers = np.zeros((0, len(layout.numbers)))
        blobs = np.empty((0, len(layout.blobs)), object)
        return cls(
            np.concatenate([empty, *(one.owners for one in some)]),
            np.concatenate([empty, *(one.spans for one in some)]),
            np.concatenate([empty, *(one.tiles for one in some)]),
            np.concatenate([numbers, *(one.numbers for one in some)]),
            np.concatenate([blobs, *(one.blobs for one in some)]),
        )


def objects(
    blobs: Sequence[Sequence[bytes | None]], layout: Layout, count: int
) -> NDArray[np.object_]:
    """Returns bytes by row and column as Rows.blobs, of `count` rows."""
    found = np.empty((count, len(layout.blobs)), object)
    if layout.blobs:
        for row, values in enumerate(blobs):
            found[row] = values
    return found


def encoded(rows: Rows) -> bytes:
    """Returns the rows of one entity as bytes: head, rows of 64-bit words, lengths, bytes."""
    count, width = rows.numbers.shape
    words = np.empty((count, 2 + width), "<i8")
    words[:, 0], words[:, 1] = rows.spans, rows.tiles
    words[:, 2:] = np.ascontiguousarray(rows.numbers, "<f8").view("<i8")
    blobs = rows.blobs.ravel().tolist()
    lengths = np.array([_NONE if blob is None else len(blob) for blob in blobs], "<u4")
    parts = [_HEAD.pack(count, width, rows.blobs.shape[1]), words.tobytes(), lengths.tobytes()]
    return b"".join([*parts, *(blob for blob in blobs if blob is not None)])


def decoded(values: Sequence[bytes | None], layout: Layout) -> Rows:
    """Returns the rows of entities by their values; the place of a value is the owner's number."""
    width, of_bytes = len(layout.numbers), len(layout.blobs)
    size, counts, words = 8 * (2 + width), [], []
    found: list[list[bytes | None]] = []
    for value in values:
        if value is None:
            counts.append(0)
            continue
        count, *shape = _HEAD.unpack_from(value)
        if shape != [width, of_bytes]:
            raise ValueError(f"expected {width} and {of_bytes} columns. Received: {shape}")
        counts.append(count)
        end = _HEAD.size + count * size
        words.append(value[_HEAD.size : end])
        if of_bytes:
            found += _blobs(value, end, count, of_bytes)
    table = np.frombuffer(b"".join(words), "<i8").reshape(-1, 2 + width)
    owners = np.repeat(np.arange(len(values)), counts)
    numbers = np.ascontiguousarray(table[:, 2:]).view("<f8").reshape(len(table), width)
    return Rows(owners, table[:, 0], table[:, 1], numbers, objects(found, layout, len(table)))


def _blobs(value: bytes, place: int, count: int, width: int) -> list[list[bytes | None]]:
    lengths = np.frombuffer(value, "<u4", count * width, place).tolist()
    place += 4 * len(lengths)
    found: list[bytes | None] = []
    for length in lengths:
        if length == _NONE:
            found.append(None)
        else:
            found.append(value[place : place + length])
            place += length
    return [found[start : start + width] for start in range(0, len(found), width)]


class Merger:
    """Merges the rows of a window into one state for each entity.

    Args:
      parts: Parts of the entity, in the order of the layout.
    """

    def __init__(self, parts: Sequence[Part]):
        self.layout = Layout.of(parts)

    def states(
        self,
        part: Part,
        rows: Rows,
        entities: int,
        types: Mapping[str, Sequence[str]],
        now_ms: int,
    ) -> list[Any]:
        """Returns the state of each entity, as Aggregation.values takes it; None without events.

        Args:
          part: The part.
          rows: Rows within the window.
          entities: Number of entities.
          types: Name of a part of first or last events -> types of its columns, as Spark says.
          now_ms: Time of the request; a later event does not count among first and last events.
        """
        if isinstance(part, Moments):
            return self._moments(part, rows, entities)
        if isinstance(part, Sketch):
            return self._sketches(part, rows, entities)
        if isinstance(part, Ends):
            return self._ends(part, rows, entities, types.get(part.name, ()), now_ms)
        column = rows.numbers[:, self.layout.numbers.index(part.name)]
        there = ~np.isnan(column)
        owners, values = rows.owners[there], column[there]
        if isinstance(part, Number) and part.kind != "sum":
            start = math.inf if part.kind == "min" else -math.inf
            found = np.full(entities, start)
            (np.minimum if part.kind == "min" else np.maximum).at(found, owners, values)
        else:
            found = np.bincount(owners, values, entities)
        known = np.bincount(owners, minlength=entities) > 0
        return [v if is_there else None for v, is_there in zip(found.tolist(), known, strict=True)]

    def _moments(self, part: Moments, rows: Rows, entities: int) -> list[Any]:
        first = self.layout.numbers.index(f"{part.name}.{MOMENTS[0]}")
        count, mean, squares = rows.numbers[:, first : first + 3].T
        there = ~np.isnan(count)
        owners, count, mean, squares = (a[there] for a in (rows.owners, count, mean, squares))
        total = np.bincount(owners, count, entities)
        with np.errstate(invalid="ignore", divide="ignore"):
            middle = np.bincount(owners, count * mean, entities) / total
        apart = count * (mean - middle[owners]) ** 2
        both = np.bincount(owners, squares + apart, entities)
        merged = zip(total.tolist(), middle.tolist(), both.tolist(), strict=True)
        return [state if state[0] else None for state in merged]

    def _blobs(self, part: Part, rows: Rows) -> Iterator[tuple[int, tuple[int, bytes]]]:
        """Yields tile, owner and bytes."""
        place = self.layout.blobs.index(part.name)
        column = rows.blobs[:, place].tolist()
        for tile, *one in zip(rows.tiles.tolist(), rows.owners.tolist(), column, strict=True):
            if one[1] is not None:
                yield tile, (one[0], one[1])

    def _sketches(self, part: Sketch, rows: Rows, entities: int) -> list[Any]:
        from datasketches import hll_sketch, hll_union  # the other parts do not need it

        found: list[Any] = [None] * entities
        for _, (owner, blob) in self._blobs(part, rows):
            if found[owner] is None:
                found[owner] = hll_union(SKETCH_LOG2_REGISTERS)
            found[owner].update(hll_sketch.deserialize(blob))
        return found

    def _ends(
        self, part: Ends, rows: Rows, entities: int, types: Sequence[str], now_ms: int
    ) -> list[Any]:
        found: list[list[Any]] = [[] for _ in range(entities)]
        newest: list[int | None] = [None] * entities  # tile that was read last
        order = np.argsort(rows.tiles, kind="stable")
        ordered = rows.where(order[::-1] if part.last else order)
        for tile, (owner, blob) in self._blobs(part, ordered):
            # Tiles do not overlap: what is in a later one comes after all these events.
            if len(found[owner]) >= part.length and newest[owner] != tile:
                continue
            newest[owner] = tile
            for entry in json.loads(blob):
                if entry[MS] < now_ms:
                    values = (_plain(entry.get(f"c{n}"), kind) for n, kind in enumerate(types))
                    found[owner].append([entry[MS], *values])
        for entries in found:
            entries.sort(key=_order, reverse=part.last)
        return [entries[: part.length] or None for entries in found]


def _plain(value: Any, kind: str) -> Any:
    """Returns a value of Spark's JSON, which writes NaN and infinity as texts."""
    return float(value) if kind in ("float", "double") and value is not None else value


def _order(entry: Sequence[Any]) -> list[Any]:
    """Returns what Spark sorts structs by: nulls first, NaN last."""
    return [
        (value is not None, isinstance(value, float) and math.isnan(value), value)
        for value in entry
    ]


def span_code(span: int, version: int) -> int:
    """Returns one number for a span and its version, which Rows.spans has."""
    return span * _VERSIONS + version


class Spans:
    """The spans that count, each in one version.

    Args:
      versions: Span -> version.
    """

    def __init__(self, versions: Mapping[int, int]):
        self._first = min(versions, default=0)
        count = max(versions, default=-1) - self._first + 1 if versions else 0
        # A table by span, with one place more at its end for all the others.
        self._versions = np.full(count + 1, -1, np.int64)
        for span, version in versions.items():
            self._versions[span - self._first] = version

    def are_in(self, rows: Rows) -> NDArray[np.bool_]:
        """Returns which rows are of these spans and versions."""
        found: NDArray[np.bool_] = self._version_of(rows) == rows.spans % _VERSIONS
        return found

    def are_not_in(self, rows: Rows) -> NDArray[np.bool_]:
        """Returns which rows are of other spans than these, whatever the version."""
        found: NDArray[np.bool_] = self._version_of(rows) < 0
        return found

    def _version_of(self, rows: Rows) -> Ints:
        places = rows.spans // _VERSIONS - self._first
        last = len(self._versions) - 1
        found: Ints = self._versions[np.where((places < 0) | (places > last), last, places)]
        return found
