"""Splits and decodes lines of text files, plain or compressed, as Spark's text reader does."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from base.errors import ComponentError

_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_OTHER_CODECS = (".deflate", ".lz4", ".snappy", ".zst")  # that Spark also reads by name


def lines_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yields each line as text without its line break, and as the bytes in the file.

    Lines end with \\n, \\r\\n or \\r. A byte order mark at the start of the file is removed from
    the text. A line that is not UTF-8 is decoded as ISO-8859-1, as in the quarantine. One line is
    held in memory, or the whole file if its only line breaks are \\r.

    Raises:
      ComponentError: The file cannot be read to its end.
    """
    mark = codecs.BOM_UTF8
    try:
        with _open(path) as file:
            for chunk in file:
                for line in _LINE.findall(chunk) if b"\r" in chunk else (chunk,):
                    yield _decoded(line.removeprefix(mark).rstrip(b"\r\n")), line
                    mark = b""
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "it is cut short or damaged"
        raise ComponentError(f"cannot read {path}: {reason}; repair or replace it") from error


def is_row(text: str) -> bool:
    """Returns whether a line is a row: lines of spaces only are not."""
    return text.strip(" ") != ""


@contextlib.contextmanager
def new_text_file(path: Path) -> Iterator[IO[bytes]]:
    """Opens a new file, compressed as its name says, and syncs it to disk at the end."""
    with path.open("xb", buffering=1 << 20) as file:
        if path.suffix == ".gz":
            # Without name and time, so the same rows make the same file.
            zipped = gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0)
            with io.BufferedWriter(zipped) as packed:
                yield packed
        elif path.suffix == ".bz2":
            with bz2.BZ2File(file, "wb") as packed:
                yield packed
        else:
            yield file
        file.flush()
        os.fsync(file.fileno())


def _open(path: Path) -> io.BufferedIOBase:
    if path.suffix in _OTHER_CODECS:
        raise ComponentError(
            f"{path}: replay cannot read {path.suffix}; compress it as .gz or .bz2"
        )
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    return bz2.open(path, "rb") if path.suffix == ".bz2" else path.open("rb")


def _decoded(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("iso-8859-1")
