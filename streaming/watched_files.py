"""Lists the files of a watched folder, and finds those that cannot be read or have changed.

Spark's own file source silently skips files that are much older than the newest one, names that
look like patterns, dangling links, and files that are gone when a batch begins. Here each file is
either read or reported.
"""

from __future__ import annotations

import dataclasses
import gzip
import os
import re
import stat
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import google_crc32c

from spark_io.connectors.codecs import bz2_chunks

_CHUNK = 1 << 20
_COMPRESSED = (".gz", ".bz2", ".deflate")
_NOT_SUPPORTED = (".zst", ".lz4", ".snappy", ".lzo", ".xz", ".zip", ".7z", ".br", ".z", ".tar")
CHANGED = "changed after it was read"


@dataclasses.dataclass(frozen=True)
class WatchedFile:
    """A file at the time of its listing.

    Attributes:
      size: Size in bytes.
      mtime_ns: Modification time in nanoseconds.
    """

    size: int
    mtime_ns: int


@dataclasses.dataclass
class FolderListing:
    """The files below a folder.

    Attributes:
      files: Path relative to the folder -> file.
      left_out: Path -> why it cannot be read.
    """

    files: dict[str, WatchedFile] = dataclasses.field(default_factory=dict)
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)


def list_files(folder: Path) -> FolderListing:
    """Returns every file below a folder.

    Names that begin with a dot, and folders that begin with an underscore, belong to unfinished
    writers and are ignored.

    Args:
      folder: Folder to list; links to folders are followed.
    """
    listing = FolderListing()
    if folder.exists():
        _list(folder, "", listing, set())
    return listing


def _list(folder: Path, prefix: str, listing: FolderListing, above: set[tuple[int, int]]) -> None:
    try:
        status = folder.stat()
        entries = list(os.scandir(folder))
    except OSError as error:
        listing.left_out[prefix or "."] = f"the folder cannot be listed ({error.strerror})"
        return
    place = (status.st_dev, status.st_ino)
    if place in above:
        listing.left_out[prefix] = "the link leads to a folder above it"
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path = f"{prefix}{entry.name}"
        try:
            found = entry.stat()
        except OSError:
            listing.left_out[path] = "the link leads nowhere"
            continue
        if stat.S_ISDIR(found.st_mode):
            if not entry.name.startswith("_"):
                _list(Path(entry.path), f"{path}/", listing, {*above, place})
        elif problem := _problem(entry, found):
            listing.left_out[path] = problem
        else:
            listing.files[path] = WatchedFile(found.st_size, found.st_mtime_ns)


def _problem(entry: os.DirEntry[str], found: os.stat_result) -> str | None:
    """Returns why a file cannot be read; None if it probably can."""
    name = entry.name
    if not stat.S_ISREG(found.st_mode):
        return "it is not a regular file"
    if found.st_size and name.startswith("_"):
        return "Spark reads no file whose name begins with _; rename it"
    if name.endswith("._COPYING_"):
        return "Hadoop is still copying it"
    if name.lower().endswith(_NOT_SUPPORTED):
        return "its compression is not supported; supported are .gz, .bz2 and .deflate"
    suffix = Path(name).suffix
    if suffix != suffix.lower() and suffix.lower() in _COMPRESSED:
        return f"Spark knows {suffix.lower()} in lower case only; rename it"
    if not name.isprintable() or not _is_utf8(name):
        return "its name has bytes that Spark cannot read; rename it"
    if not os.access(entry.path, os.R_OK):
        return "it cannot be read (permission denied)"
    return None


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:  # os.fsdecode has escaped a byte
        return False
    return True


def reading_order(path: str) -> list[tuple[int, str]]:
    """Returns a key that sorts by name, with digits as numbers: `9.json` before `10.json`.

    Logs have the hour in their path. A modification time may only say when a file was copied.
    """
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path)
    ]


def record(path: Path, listed: WatchedFile) -> dict[str, Any]:
    """Returns a manifest's entry for a file that was read: its size, time and checksum.

    `changed` is true if the file was written while it was read.
    """
    facts: dict[str, Any] = {"size": listed.size, "mtime_ns": listed.mtime_ns}
    try:
        checksum = _crc32c(path)
        status = path.stat()
    except OSError:
        return {**facts, "crc32c": None, "changed": True}
    same = (status.st_size, status.st_mtime_ns) == (listed.size, listed.mtime_ns)
    return {**facts, "crc32c": checksum if same else None, "changed": not same}


def has_changed(path: Path, now: WatchedFile, then: Mapping[str, Any]) -> bool:
    """Returns whether a file's contents have changed since it was read.

    The checksum decides, since a copy with the same contents may have another modification time.

    Args:
      path: Path of the file.
      now: File as listed now.
      then: Entry of the file in its manifest.
    """
    if then.get("changed"):
        return True
    if now.size != then.get("size", now.size):
        return True
    if now.mtime_ns == then.get("mtime_ns", now.mtime_ns):
        return False
    checksum = then.get("crc32c")
    try:
        return checksum is not None and _crc32c(path) != checksum
    except OSError:
        return False  # the listing reports it as unreadable


def _crc32c(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            checksum = google_crc32c.extend(checksum, chunk)
    return int(checksum)


def why_broken(path: Path) -> str | None:
    """Returns why a file cannot be read to its end; None if it can."""
    chunks = _inflated if path.suffix.lower() == ".deflate" else _chunks
    try:
        for _ in chunks(path):
            pass
    except (OSError, EOFError, zlib.error) as error:
        return f"it cannot be read to its end ({error})"
    return None


def _chunks(path: Path) -> Iterator[bytes]:
    suffix = path.suffix.lower()
    if suffix == ".bz2":
        yield from bz2_chunks(path)
        return
    with gzip.open(path) if suffix == ".gz" else path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _inflated(path: Path) -> Iterator[bytes]:
    inflating = zlib.decompressobj()
    for chunk in _chunks(path):
        yield inflating.decompress(chunk)
    if not inflating.eof:
        raise EOFError("the compressed file ends too early")
