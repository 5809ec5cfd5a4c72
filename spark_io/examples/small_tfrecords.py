"""Small TFRecord files, read without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError
from tensorboard.compat.tensorflow_stub import errors, pywrap_tensorflow

# What reading a file and parsing its records may raise.
UNREADABLE = (OSError, DecodeError, errors.OpError)


def records(path: Path) -> Iterator[bytes]:
    """Each record, its checksums verified.

    Raises:
      one of UNREADABLE.
    """
    reader = pywrap_tensorflow.PyRecordReader_New(str(path))
    while True:
        try:
            reader.GetNext()
        except errors.OutOfRangeError:
            return
        yield reader.record()
