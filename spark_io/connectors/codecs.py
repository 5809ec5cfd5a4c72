"""How files of text are compressed: by name and by content, which must agree.

Spark takes the codec from the name alone, and what it does with a file that it cannot decompress
depends on the codec: some give no rows, some garbage, one ends the JVM. So only those are read that
are tested here, and a file is looked into before Spark gets it.
"""

from __future__ import annotations

import bz2
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Protocol

from base.errors import ComponentError

_READ = {".gz": b"\x1f\x8b", ".bz2": b"BZh"}  # the last part of a name -> how its content begins
_NOT_READ = {
    *(".7z", ".rar", ".tar", ".tgz", ".tbz2", ".txz", ".zip"),
    *(".br", ".bz", ".deflate", ".gzip", ".lz4", ".lzma", ".lzo", ".lzop", ".snappy", ".sz"),
    *(".xz", ".z", ".zst", ".zstd"),
}
# What a file begins with that is no text.
_KNOWN = {
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
_LONGEST = max(map(len, _KNOWN))
_AT_A_TIME = 16  # a look is a round trip or two to HDFS or S3


class Files(Protocol):
    """LocalFiles or HadoopFiles."""

    def head(self, path: str, size: int) -> bytes: ...


def check_names(name: str, paths: Iterable[str], local: bool) -> None:
    """Checks the names of a source's text files.

    Args:
      name: Name of the source.
      paths: Paths of the files.
      local: Whether they are files of this machine: others cannot be looked through for damage,
        and Hadoop's reader of bzip2 skips what it cannot read.

    Raises:
      ComponentError: naming a file with a codec that is not read.
    """
    for path in paths:
        suffix = PurePosixPath(path).suffix.lower()
        if suffix == ".bz2" and not local:
            raise ComponentError(
                f"source '{name}': {path} is compressed as .bz2, which is read on local disks "
                "only; decompress it, or compress it as .gz"
            )
        if suffix in _NOT_READ or (suffix in _READ and not path.endswith(suffix)):
            raise ComponentError(
                f"source '{name}': {path} is compressed as {PurePosixPath(path).suffix}, which is "
                f"not read; decompress it, or compress it as {' or '.join(_READ)}"
            )


def bz2_chunks(path: Path) -> Iterator[bytes]:
    """Yields the content of a bzip2 file, strictly.

    Hadoop's reader goes on at the next block that it can read, and Python's takes what follows the
    last whole stream for padding: both would lose rows without a word.

    Raises:
      OSError: the file, or a part of it, is not bzip2.
      EOFError: the file ends within a stream.
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
      ComponentError: naming a file whose content is something else.
    """

    def check(path: str) -> None:
        head, suffix = files.head(path, _LONGEST), PurePosixPath(path).suffix
        if not head:
            return
        if suffix in _READ:
            if not head.startswith(_READ[suffix]):
                raise ComponentError(
                    f"source '{name}': {path} is not compressed as its name says; replace or "
                    "rename it"
                )
            return
        for start, what in _KNOWN.items():
            if head.startswith(start):
                raise ComponentError(
                    f"source '{name}': {path} is {what}, but its name says that it is plain text; "
                    "rename or convert it"
                )

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        list(pool.map(check, paths))
