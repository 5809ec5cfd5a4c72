"""Writes gzipped TFRecord files, many records at a time.

https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details: a record is

    uint64 length, uint32 masked CRC32C of the length, the data, uint32 masked CRC32C of the data
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import google_crc32c
import numpy as np
import pyarrow as pa
from isal import isal_zlib
from numpy.typing import NDArray

import base.arrow  # noqa: F401
from spark_io.examples.byte_columns import Ragged, glue

_GZIP = 31  # zlib's number for a gzip header, and the largest window
_LEVEL = 2  # as fast as level 1 in large pieces, and 2% smaller


class TFRecordShard:
    """A gzipped TFRecord file, with its rows, and bytes and CRC32C of the compressed file."""

    def __init__(self, path: Path):
        self.path = path
        self.rows = 0
        self._file = _ChecksummedFile(path)
        self._gzip = isal_zlib.compressobj(_LEVEL, wbits=_GZIP)
        self._closed = False

    def write_all(self, records: pa.BinaryArray) -> None:
        """Writes records of less than 2 GiB in total."""
        if len(records):
            self._file.write(self._gzip.compress(framed(records)))
            self.rows += len(records)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            try:
                self._file.write(self._gzip.flush())
            finally:
                self._file.close()

    @property
    def bytes(self) -> int:
        return self._file.bytes

    @property
    def crc32c(self) -> int:
        return self._file.crc32c


def framed(records: pa.BinaryArray) -> NDArray[np.uint8]:
    """Returns the bytes of one or more records, each with its length and checksums."""
    data = Ragged.of(records)
    lengths = data.sizes().astype("<u8")
    # google_crc32c takes only bytes objects, and this is the cheapest way to make them.
    objects = records.to_numpy(zero_copy_only=False)
    checksums = np.fromiter(map(google_crc32c.value, objects), np.uint32, len(records))
    parts = (lengths, _masked(_crc32c_of(lengths)), data, _masked(checksums))
    return Ragged.of(glue(parts, len(records))).content()


def _masked(checksums: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Returns (n,) checksums in TFRecord's masked form: rotated, plus a constant."""
    rotated = (checksums >> np.uint32(15)) | (checksums << np.uint32(17))
    return (rotated + np.uint32(0xA282EAD8)).astype("<u4", copy=False)


def _crc32c_of(lengths: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Returns the CRC32C of (n,) numbers of eight bytes, as XOR of the bytes' contributions."""
    checksums = np.full(len(lengths), _CRC32C_OF_ZERO, np.uint32)
    for position, table in enumerate(_CRC32C_OF_BYTE):
        checksums ^= table[(lengths >> np.uint64(8 * position)) & np.uint64(0xFF)]
    return checksums


_CRC32C_OF_ZERO = google_crc32c.value(bytes(8))
# The contribution of each of the lower four bytes; lengths are below 2**32.
_CRC32C_OF_BYTE = [
    np.array(
        [
            google_crc32c.value((byte << 8 * position).to_bytes(8, "little")) ^ _CRC32C_OF_ZERO
            for byte in range(256)
        ],
        np.uint32,
    )
    for position in range(4)
]


class _ChecksummedFile:
    """A binary file with a running size and checksum, which is synced to disk when closed."""

    def __init__(self, path: Path):
        self._file: BinaryIO = path.open("wb", buffering=1 << 20)
        self.bytes = 0
        self.crc32c = 0

    def write(self, data: bytes) -> None:
        self.crc32c = google_crc32c.extend(self.crc32c, data)
        self.bytes += len(data)
        self._file.write(data)

    def close(self) -> None:
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
