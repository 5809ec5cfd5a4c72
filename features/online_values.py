"""The past of one entity as bytes, with a row for each span and tile, and as arrays."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.parts import Ends, Moments, Part, Sketch

MOMENTS = ("count", "mean", "squares")
_HEAD = struct.Struct("<IHH")  # rows, columns of numbers, columns of bytes
_VERSION_BITS = 20  # for more versions of a span than there will be
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
class Blobs:
    """Bytes by row and column: a table of places in one text of bytes.

    Attributes:
      data: The text.
      starts: First place, [rows, columns].
      lengths: Number of bytes, [rows, columns]; _NONE for bytes that are not there.
    """

    data: bytes
    starts: Ints
    lengths: Ints

    @classmethod
    def of(cls, data: bytes, lengths: Ints) -> Blobs:
        """Returns the bytes that lie one after the other, row by row."""
        sizes = np.where(lengths == _NONE, 0, lengths).ravel()
        return cls(data, (np.cumsum(sizes) - sizes).reshape(lengths.shape), lengths)

    @classmethod
    def of_rows(cls, rows: Sequence[Sequence[bytes | None]], columns: int) -> Blobs:
        """Returns the bytes of rows."""
        blobs = [blob for row in rows for blob in row]
        sizes = [_NONE if blob is None else len(blob) for blob in blobs]
        lengths = np.array(sizes, np.int64).reshape(len(rows), columns)
        return cls.of(b"".join(filter(None, blobs)), lengths)

    def where(self, kept: NDArray[Any]) -> Blobs:
        """Returns those of some rows."""
        return Blobs(self.data, self.starts[kept], self.lengths[kept])

    def are_there(self, column: int) -> NDArray[np.bool_]:
        """Returns which rows have bytes in a column."""
        found: NDArray[np.bool_] = self.lengths[:, column] != _NONE
        return found

    def at(self, row: int, column: int) -> bytes:
        """Returns the bytes of a row that has some."""
        start = int(self.starts[row, column])
        return self.data[start : start + int(self.lengths[row, column])]

    def column(self, column: int, rows: NDArray[Any]) -> list[bytes]:
        """Returns the bytes of rows that have some."""
        starts = self.starts[rows, column]
        ends = (starts + self.lengths[rows, column]).tolist()
        return [self.data[start:end] for start, end in zip(starts.tolist(), ends, strict=True)]

    def packed(self) -> bytes:
        """Returns the bytes one after the other, row by row."""
        spans = zip(self.starts.ravel().tolist(), self.lengths.ravel().tolist(), strict=True)
        return b"".join(self.data[at : at + size] for at, size in spans if size != _NONE)


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows of one or more entities.

    Attributes:
      owners: Number of the entity, [rows].
      spans: Code of the span that a row comes from (`span_code`), [rows].
      tiles: Start of its tile in epoch milliseconds, [rows].
      numbers: Numbers, [rows, columns]; NaN for one that is not there.
      blobs: Sketches, and JSON of first and last events.
    """

    owners: Ints
    spans: Ints
    tiles: Ints
    numbers: Floats
    blobs: Blobs

    def where(self, kept: NDArray[Any]) -> Rows:
        """Returns some of the rows, by a mask or by their places."""
        return Rows(
            self.owners[kept],
            self.spans[kept],
            self.tiles[kept],
            self.numbers[kept],
            self.blobs.where(kept),
        )

    def with_others(self, others: Rows) -> Rows:
        """Returns these rows and others of the same layout."""
        shifted = self.blobs.starts, others.blobs.starts + len(self.blobs.data)
        return Rows(
            np.concatenate([self.owners, others.owners]),
            np.concatenate([self.spans, others.spans]),
            np.concatenate([self.tiles, others.tiles]),
            np.concatenate([self.numbers, others.numbers]),
            Blobs(
                self.blobs.data + others.blobs.data,
                np.concatenate(shifted),
                np.concatenate([self.blobs.lengths, others.blobs.lengths]),
            ),
        )


def encoded(rows: Rows) -> bytes:
    """Returns the rows of one entity as bytes: head, rows of 64-bit words, lengths, bytes."""
    count, width = rows.numbers.shape
    words = np.empty((count, 2 + width), "<i8")
    words[:, 0], words[:, 1] = rows.spans, rows.tiles
    words[:, 2:] = np.ascontiguousarray(rows.numbers, "<f8").view("<i8")
    lengths = rows.blobs.lengths.astype("<u4")
    head = _HEAD.pack(count, width, lengths.shape[1])
    return b"".join([head, words.tobytes(), lengths.tobytes(), rows.blobs.packed()])


def decoded(values: Sequence[bytes | None], layout: Layout) -> Rows:
    """Returns the rows of entities by their values; the place of a value is the owner's number."""
    width, of_bytes = len(layout.numbers), len(layout.blobs)
    counts = [0] * len(values)
    words, lengths, data = [], [], []
    for place, value in enumerate(values):
        if value is None:
            continue
        count, *shape = _HEAD.unpack_from(value)
        if shape != [width, of_bytes]:
            raise ValueError(f"expected {width} and {of_bytes} columns. Received: {shape}")
        counts[place] = count
        end = _HEAD.size + count * 8 * (2 + width)
        read = memoryview(value)
        words.append(read[_HEAD.size : end])
        if of_bytes:
            start = end + count * 4 * of_bytes
            lengths.append(read[end:start])
            data.append(read[start:])
    table = np.frombuffer(b"".join(words), "<i8").reshape(-1, 2 + width)
    sizes = np.frombuffer(b"".join(lengths), "<u4").astype(np.int64)
    return Rows(
        np.repeat(np.arange(len(values)), counts),
        table[:, 0],
        table[:, 1],
        table.view("<f8")[:, 2:],
        Blobs.of(b"".join(data), sizes.reshape(len(table), of_bytes)),
    )


def span_code(span: int, version: int) -> int:
    """Returns one number for a span and its version, which Rows.spans has."""
    return (span << _VERSION_BITS) + version


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
        versions = rows.spans & ((1 << _VERSION_BITS) - 1)
        found: NDArray[np.bool_] = self._version_of(rows) == versions
        return found

    def are_not_in(self, rows: Rows) -> NDArray[np.bool_]:
        """Returns which rows are of other spans than these, whatever the version."""
        found: NDArray[np.bool_] = self._version_of(rows) < 0
        return found

    def _version_of(self, rows: Rows) -> Ints:
        places = (rows.spans >> _VERSION_BITS) - self._first
        # All others are in the last place: a negative number is more than any without its sign.
        last = np.uint64(len(self._versions) - 1)
        found: Ints = self._versions[np.minimum(places.view(np.uint64), last)]
        return found
