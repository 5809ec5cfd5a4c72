"""Builds one byte string per row from parts, for all rows at once.

There is no loop over rows. The parts are laid out in one matrix of bytes, in which a part of
variable length has room for its longest value, and Arrow removes the gaps in one pass. Arrow joins
parts that are too long for that.

Byte order is little-endian, as in protobuf, Spark and the supported machines.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

import base.arrow  # noqa: F401
from base.errors import ComponentError
from spark_io.examples.wire import varint

Items: TypeAlias = NDArray[Any]  # (n,), of any type with a fixed number of bytes
Sizes: TypeAlias = "int | NDArray[np.int64]"  # bytes of a row: the same in all, or (n,)

_LONGEST_SLOT = 64  # bytes; joining costs less than room for longer values
# Bytes, because offsets into a matrix must stay below 2**31. Only the array of a single row gets
# there: larger batches are encoded in parts.
_LARGEST_MATRIX = 1 << 29


@dataclasses.dataclass(frozen=True)
class Cut:
    """Fixed parts of which a row keeps only the first `kept` bytes, (n,)."""

    parts: tuple[bytes | Items, ...]
    kept: NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Ragged:
    """Row i is data[offsets[i]:offsets[i + 1]]; offsets (n + 1,), data uint8."""

    offsets: NDArray[np.integer[Any]]
    data: NDArray[np.uint8]

    @classmethod
    def of(cls, values: pa.Array) -> Ragged:
        """Returns the bytes of a binary array; those of nulls are empty."""
        if values.null_count:
            values = values.fill_null(b"")  # a null may have any bytes
        _, offsets, data = values.buffers()
        rows = slice(values.offset, values.offset + len(values) + 1)
        every = np.frombuffer(offsets, np.int32) if offsets else np.zeros(1, np.int32)
        return cls(every[rows], np.frombuffer(data or b"", np.uint8))

    def sizes(self) -> NDArray[np.int64]:
        return np.diff(self.offsets).astype(np.int64)

    def content(self) -> NDArray[np.uint8]:
        """Returns the bytes of all rows, concatenated."""
        return self.data[self.offsets[0] : self.offsets[-1]]

    def grouped(self, bounds: NDArray[np.int64]) -> Ragged:
        """Joins rows bounds[i] to bounds[i + 1] into one row each."""
        return Ragged(self.offsets[bounds], self.data)


# The same bytes in all rows, one item of an array per row, or one of the two above.
Part: TypeAlias = "bytes | Items | Cut | Ragged"


@dataclasses.dataclass(frozen=True)
class ByteColumn:
    """Concatenated parts.

    Attributes:
      parts: Parts from left to right.
      size: Number of bytes in each row.
      max_size: Upper bound of `size`, known without a pass over all rows.
    """

    parts: tuple[Part, ...]
    size: Sizes
    max_size: int

    def __add__(self, other: ByteColumn) -> ByteColumn:
        size = self.size + other.size
        return ByteColumn(self.parts + other.parts, size, self.max_size + other.max_size)


def constant(content: bytes) -> ByteColumn:
    return ByteColumn((content,), len(content), len(content))


def ragged(values: Ragged) -> ByteColumn:
    sizes = values.sizes()
    return ByteColumn((values,), sizes, int(sizes.max()))


def floats(values: NDArray[np.float32], present: NDArray[np.bool_] | None) -> ByteColumn:
    """Returns four bytes per (n,) float32 value, and none where not present."""
    values = values.astype("<f4", copy=False)
    if present is None:
        return ByteColumn((values,), 4, 4)
    kept = present * 4
    return ByteColumn((Cut((values,), kept),), kept, 4)


def varints(values: NDArray[np.uint64], present: NDArray[np.bool_] | None = None) -> ByteColumn:
    """Returns varints of (n,) uint64 values, n > 0, and no bytes where not present."""
    slot, sizes = _varint_slot(values, int(values.max()))
    return _cut((slot,), sizes, slot.itemsize, present)


def length_header(
    tag: bytes, content: ByteColumn, present: NDArray[np.bool_] | None = None
) -> ByteColumn:
    """Returns tag and length of a field with that content, and no bytes where not present."""
    if isinstance(content.size, int):
        header = tag + varint(content.size)
        return _cut((header,), len(header), len(header), present)
    slot, sizes = _varint_slot(content.size.view(np.uint64), content.max_size)
    return _cut((tag, slot), sizes + len(tag), slot.itemsize + len(tag), present)


def delimited(tag: bytes, content: ByteColumn) -> ByteColumn:
    """Returns a field that holds a string or a message."""
    return length_header(tag, content) + content


def _cut(
    parts: tuple[bytes | Items, ...], sizes: Sizes, most: int, present: NDArray[np.bool_] | None
) -> ByteColumn:
    if present is not None:
        sizes = present * sizes
    if isinstance(sizes, int):
        return ByteColumn(parts, sizes, most)
    return ByteColumn((Cut(parts, sizes),), sizes, most)


def _varint_slot(values: NDArray[np.uint64], most: int) -> tuple[Items, Sizes]:
    """Returns varints of (n,) uint64 values, padded to the longest, and their sizes.

    No value is above `most`.
    """
    if most < 128:
        return values.astype(np.uint8), 1
    shortest, longest = len(varint(int(values.min()))), len(varint(most))
    sizes: Sizes = longest
    last: np.uint64 | NDArray[np.uint64] = np.uint64(_CONTINUED[longest])
    if shortest != longest:
        sizes = np.full(len(values), shortest)
        for size in range(shortest, longest):
            sizes += values >= np.uint64(1 << 7 * size)
        last = _CONTINUED[sizes]
    low = _spread(values, longest) | last
    if longest <= 8:
        return np.ndarray((len(values),), f"V{longest}", low, 0, (8,)), sizes
    wide = np.empty((len(values), 10), np.uint8)
    wide[:, :8] = low.view(np.uint8).reshape(-1, 8)
    wide[:, 8] = (values >> np.uint64(56)) & np.uint64(0x7F)
    wide[:, 8] |= np.where(np.equal(sizes, 10), 0x80, 0).astype(np.uint8)
    wide[:, 9] = values >> np.uint64(63)
    return np.ndarray((len(values),), f"V{longest}", wide, 0, (10,)), sizes


# The continuation bits in the first eight bytes of a varint, by its size.
_CONTINUED = np.array(
    [sum(0x80 << 8 * byte for byte in range(min(size - 1, 8))) for size in range(11)], np.uint64
)


def _spread(values: NDArray[np.uint64], longest: int) -> NDArray[np.uint64]:
    """Spreads the lowest 56 bits over bytes, seven bits each, by halves: 28, 14, 7 bits."""
    if longest > 4:
        values = _apart(values, 0x000000000FFFFFFF, 0x00FFFFFFF0000000, 4)
    if longest > 2:
        values = _apart(values, 0x00003FFF00003FFF, 0x0FFFC0000FFFC000, 2)
    return _apart(values, 0x007F007F007F007F, 0x3F803F803F803F80, 1)


def _apart(values: NDArray[np.uint64], stay: int, move: int, by: int) -> NDArray[np.uint64]:
    return (values & np.uint64(stay)) | ((values & np.uint64(move)) << np.uint64(by))


def glue(parts: Sequence[Part], rows: int) -> pa.BinaryArray:
    """Joins each row's parts to one byte string; at least one row, under 2 GiB in total."""
    pieces: list[pa.BinaryArray] = []
    table = _Matrix(rows)
    for part in parts:
        if isinstance(part, Ragged) and (slot := _ragged_slot(part)) is not None:
            part = slot
        if not isinstance(part, Ragged):
            table.append(part)
            continue
        if table.width:
            pieces.append(table.joined())
        pieces.append(_binary(part.offsets, part.data))
        table = _Matrix(rows)
    if table.width or not pieces:
        pieces.append(table.joined())
    return pc.binary_join_element_wise(*pieces, b"") if len(pieces) > 1 else pieces[0]


def _ragged_slot(part: Ragged) -> Cut | Items | bytes | None:
    """Returns the part with room for the longest value in every row; None if that is too long."""
    sizes = part.sizes()
    shortest, longest = int(sizes.min()), int(sizes.max())
    if longest > _LONGEST_SLOT:
        return None
    if longest == 0:
        return b""
    content = part.content()
    if shortest == longest:
        return content.view(f"V{longest}")
    # One item begins at each byte, so the last ones need padding.
    data = np.concatenate([content, np.zeros(longest, np.uint8)])
    items: Items = np.ndarray((len(content) + 1,), f"V{longest}", data, 0, (1,))
    return Cut((items[part.offsets[:-1] - part.offsets[0]],), sizes)


class _Matrix:
    """A matrix with one row of bytes per row, and gaps after short values."""

    def __init__(self, rows: int):
        self._rows = rows
        self._template = bytearray()
        self._fields: list[tuple[int, Items]] = []  # where it starts, its items
        self._cuts: list[tuple[int, int, NDArray[np.int64]]] = []  # start, end, bytes kept

    @property
    def width(self) -> int:
        return len(self._template)

    def append(self, part: bytes | Items | Cut) -> None:
        if isinstance(part, bytes):
            self._template += part
        elif isinstance(part, Cut):
            start = self.width
            for inner in part.parts:
                self.append(inner)
            self._cuts.append((start, self.width, part.kept))
        else:
            self._fields.append((self.width, part))
            self._template += bytes(part.itemsize)

    def joined(self) -> pa.BinaryArray:
        """Returns the rows without the gaps."""
        width, rows = self.width, self._rows
        if not width:
            return _binary(np.zeros(rows + 1, np.int32), np.zeros(0, np.uint8))
        if rows * width > _LARGEST_MATRIX:
            raise ComponentError(
                f"an array has {rows:,} values, too many for one example; shorten it in the ETL"
            )
        matrix = np.empty(rows * width, np.uint8)
        matrix.view(f"V{width}")[:] = np.void(bytes(self._template))
        for start, items in self._fields:
            np.ndarray((rows,), items.dtype, matrix, start, (width,))[:] = items
        starts = np.arange(0, (rows + 1) * width, width, dtype=np.int32)
        if not self._cuts:
            return _binary(starts, matrix)

        # Each row consists of kept, gap, kept, gap, ..., kept. Arrow copies the kept pieces.
        bounds = np.empty((rows, 2 * len(self._cuts) + 1), np.int32)
        bounds[:, 0] = starts[:-1]
        for index, (start, end, kept) in enumerate(self._cuts):
            np.add(starts[:-1], kept + start, out=bounds[:, 2 * index + 1], casting="unsafe")
            np.add(starts[:-1], end, out=bounds[:, 2 * index + 2])
        pieces = _binary(np.append(bounds.ravel(), starts[-1]), matrix)
        kept_ones = np.arange(bounds.size, dtype=np.int32).reshape(bounds.shape)[:, ::2]
        taken = Ragged.of(pieces.take(pa.array(kept_ones.ravel())))
        return _binary(taken.offsets[:: len(self._cuts) + 1], taken.data)


def _binary(offsets: NDArray[np.integer[Any]], data: NDArray[np.uint8]) -> pa.BinaryArray:
    offsets = np.ascontiguousarray(offsets, np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, buffers)
