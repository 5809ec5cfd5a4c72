"""Lists and reads files on local and mounted disks, without a JVM."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import stat
from pathlib import Path
from typing import Any

import google_crc32c

from base.errors import ComponentError
from spark_io.connectors.listing import DANGLING, FILE, FOLDER, OTHER, Entry, matching_files
from spark_io.sources.spans import SpanPattern


class LocalFiles:
    """The files below a local folder."""

    def __init__(self, base: str):
        self._base = Path(base)

    def exists(self) -> bool:
        return self._base.is_dir()

    def matching(self, pattern: SpanPattern) -> list[str]:
        """Returns relative paths of the files that match; see listing.py."""
        return matching_files(pattern, str(self._base), self._entries)

    def describe(self, path: str) -> dict[str, Any]:
        """Returns path, size in bytes and CRC32C; a new modification time alone changes none."""
        crc32c = 0
        try:
            with (self._base / path).open("rb") as file:
                while chunk := file.read(1 << 20):
                    crc32c = google_crc32c.extend(crc32c, chunk)
                size = file.tell()
        except OSError as error:
            raise ComponentError(f"cannot read {self._base / path}: {error.strerror}") from error
        return {"path": path, "bytes": size, "checksum": f"crc32c:{crc32c:08x}"}

    def head(self, path: str, size: int) -> bytes:
        """Returns the first bytes of a file."""
        with (self._base / path).open("rb") as file:
            return file.read(size)

    def first_line(self, path: str, comment: str = "") -> str:
        """Returns the first line of a text file (compressed or not) that is not blank, or ''.

        Args:
          path: Path relative to the base.
          comment: Prefix of comment lines, which are skipped; '' for none.
        """
        with opened(self._base / path) as file:
            # Lines end only where Spark ends them, not at other line breaks of Unicode.
            for raw in file:
                for line in raw.replace(b"\r", b"\n").split(b"\n"):
                    text = line.decode("utf-8", "replace").lstrip("\ufeff")
                    if text.strip() and not (comment and text.startswith(comment)):
                        return text
        return ""

    def _entries(self, folder: str) -> list[Entry]:
        path = self._base / folder
        try:
            with os.scandir(path) as entries:
                return [Entry(entry.name, _kind(entry)) for entry in entries]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise ComponentError(f"cannot list the folder {path}: {error.strerror}") from error


def opened(path: Path) -> io.BufferedIOBase:
    """Opens a file for its uncompressed bytes; the suffix of its name gives the codec."""
    if path.suffix == ".gz":
        return gzip.open(path)
    return bz2.open(path) if path.suffix == ".bz2" else path.open("rb")


def _kind(entry: os.DirEntry[str]) -> str:
    try:
        mode = entry.stat().st_mode
    except FileNotFoundError:
        return DANGLING if entry.is_symlink() else OTHER
    except OSError as error:  # a link to itself, or no permission
        raise ComponentError(f"cannot look at {entry.path}: {error.strerror}") from error
    if stat.S_ISREG(mode):
        return FILE
    return FOLDER if stat.S_ISDIR(mode) else OTHER
