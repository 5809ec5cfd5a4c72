"""Reads TFRecord files, gzipped or not, without Spark and TensorFlow."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator

import google_crc32c

from base.errors import ComponentError

_GZIP = b"\x1f\x8b"


def read_records(path: str, content: bytes) -> Iterator[bytes]:
    """Yields the records of one file; tfrecord.py describes the format.

    Args:
      path: Path of the file, for errors.
      content: All bytes of the file.

    Raises:
      ComponentError: The file is damaged. The records before the damage were yielded, unless the
        file is gzipped.
    """
    try:
        data = gzip.decompress(content) if content[:2] == _GZIP else content
    except (OSError, EOFError) as error:
        raise ComponentError(f"{path} is cut short or damaged; replace it") from error
    position = 0
    while position < len(data):
        header = data[position : position + 12]
        if len(header) == 12 and struct.unpack("<I", header[8:])[0] == _masked(header[:8]):
            length = struct.unpack("<Q", header[:8])[0]
            record = data[position + 12 : position + 12 + length]
            footer = data[position + 12 + length : position + 16 + length]
            if len(footer) == 4 and struct.unpack("<I", footer)[0] == _masked(record):
                position += length + 16
                yield record
                continue
        raise ComponentError(f"{path} is cut short or damaged, or no TFRecord file; replace it")


def _masked(data: bytes) -> int:
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
