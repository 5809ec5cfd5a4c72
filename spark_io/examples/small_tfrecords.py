"""Reads small TFRecord files without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError

from base.errors import ComponentError
from spark_io.examples.tfrecord_reader import read_records

# The exceptions of reading a file and parsing its records.
UNREADABLE = (OSError, DecodeError, ComponentError)


def records(path: Path) -> Iterator[bytes]:
    """Yields each record after its checksums are verified.

    Raises:
      OSError: The file cannot be read.
      ComponentError: The file is damaged.
    """
    return read_records(str(path), path.read_bytes())
