"""Small TFRecord files, read without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError

from base.errors import ComponentError
from spark_io.examples.tfrecord_reader import read_records

# What reading a file and parsing its records may raise.
UNREADABLE = (OSError, DecodeError, ComponentError)


def records(path: Path) -> Iterator[bytes]:
    """Returns each record, its checksums verified.

    Raises:
      OSError: The file cannot be read.
      ComponentError: The file is damaged.
    """
    return read_records(str(path), path.read_bytes())
