"""Checks how text files are compressed: name and content must agree.

Spark takes the codec from the name alone. A file that it cannot decompress gives no rows, garbage
or a crash of the JVM, depending on the codec. So only tested codecs are accepted, and the first
bytes of each file are checked before Spark reads it.
"""

from __future__ import annotations

import bz2
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Protocol

from base.errors import ComponentError

_SUPPORTED = {".gz": b"\x1f\x8b", ".bz2": b"BZh"}  # suffix -> first bytes
_UNSUPPORTED = {
    *(".7z", ".rar", ".tar", ".tgz", ".tbz2", ".txz", ".zip"),
    *(".br", ".bz", ".deflate", ".gzip", ".lz4", ".lzma", ".lzo", ".lzop", ".snappy", ".sz"),
    *(".xz", ".z", ".zst", ".zstd"),
}
# First bytes of files that are not text.
_FIRST_BYTES = {
    b"\x1f\x8b": "gzip",
    b"BZh91AY&SY": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"\xfd7zXZ\x00": "xz",
    b"PK\x03\x04": "zip",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"\xff\x06\x00\x00sNaPpY": "snappy",
    b"\x89LZO\x00": "lzo",
    b"PAR1": "a Parquet file",
    b"Obj\x01": "an Avro file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
_LONGEST = max(map(len, _FIRST_BYTES))
_PARALLEL_READS = 16  # each is a round trip or two to HDFS or S3


class Files(Protocol):
    """The methods of LocalFiles and HadoopFiles that are used here."""

    def head(self, path: str, size: int) -> bytes: ...


def check_names(name: str, paths: Iterable[str], local: bool) -> None:
    """Checks the names of a source's text files.

    Args:
      name: Name of the source.
      paths: Paths of the files.
      local: Whether the files are local. Only local bzip2 files can be checked for damage, and
        Hadoop's bzip2 reader skips damaged blocks.

    Raises:
      ComponentError: A file has an unsupported codec.
    """
    for path in paths:
        suffix = PurePosixPath(path).suffix.lower()
        if suffix == ".bz2" and not local:
            raise ComponentError(
                f"source '{name}': {path} is compressed as .bz2, which is read on local disks "
                "only; decompress it, or compress it as .gz"
            )
        if suffix in _UNSUPPORTED or (suffix in _SUPPORTED and not path.endswith(suffix)):
            raise ComponentError(
                f"source '{name}': {path} is compressed as {PurePosixPath(path).suffix}, which is "
                f"not supported; decompress it, or compress it as {' or '.join(_SUPPORTED)}"
            )


def bz2_chunks(path: Path) -> Iterator[bytes]:
    """Yields the content of a bzip2 file, and fails on any damage.

    Other readers lose rows silently: Hadoop's continues at the next readable block, and Python's
    takes everything after the last whole stream as padding.

    Raises:
      OSError: The file, or a part of it, is not bzip2.
      EOFError: The file ends within a stream.
    """
    decompressor, ended = bz2.BZ2Decompressor(), True
    with path.open("rb") as file:
        while rest := file.read(1 << 20):
            while rest:
                yield decompressor.decompress(rest)
                ended, rest = decompressor.eof, decompressor.unused_data
                if ended:
                    decompressor = bz2.BZ2Decompressor()
    if not ended:
        raise EOFError("the compressed file ends too early")


def check_whole_bz2(name: str, path: Path) -> None:
    """Raises ComponentError if a file is not bzip2 from its first byte to its last."""
    try:
        for _ in bz2_chunks(path):
            pass
    except (OSError, EOFError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk, not the data
            raise ComponentError(f"cannot read {path}: {error.strerror}") from error
        raise ComponentError(
            f"source '{name}': {path} is cut short or damaged; replace it"
        ) from error


def check_contents(name: str, paths: Iterable[str], files: Files) -> None:
    """Checks that text files are compressed as their names say.

    Raises:
      ComponentError: The content of a file does not match its name.
    """

    def check(path: str) -> None:
        head, suffix = files.head(path, _LONGEST), PurePosixPath(path).suffix
        if not head:
            return
        if suffix in _SUPPORTED:
            if not head.startswith(_SUPPORTED[suffix]):
                raise ComponentError(
                    f"source '{name}': {path} is not compressed as its name says; replace or "
                    "rename it"
                )
            return
        for start, what in _FIRST_BYTES.items():
            if head.startswith(start):
                raise ComponentError(
                    f"source '{name}': {path} is {what}, but its name says that it is plain text; "
                    "rename or convert it"
                )

    with ThreadPoolExecutor(_PARALLEL_READS) as pool:
        list(pool.map(check, paths))
