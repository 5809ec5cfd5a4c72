"""Lists and reads files by Hadoop's file systems (HDFS, S3A, local) in Spark's JVM.

It uses the client, settings and credentials that Spark reads with.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from base.errors import ComponentError
from spark_io.connectors.listing import FILE, FOLDER, Entry, matching_files
from spark_io.sources.spans import SpanPattern

_GLOB_CHARACTERS = re.compile(r"([\[\]{}*?\\])")


class HadoopFiles:
    """The files below a folder or URI."""

    def __init__(self, spark: SparkSession, base: str):
        jvm: Any = spark._jvm
        self._jvm = jvm
        self._conf = spark._jsc.hadoopConfiguration()
        path = jvm.org.apache.hadoop.fs.Path(
            base if "://" in base else f"file://{Path(base).resolve()}"
        )
        self._files = path.getFileSystem(self._conf)
        self._base = self._files.makeQualified(path).toString().rstrip("/")

    def exists(self) -> bool:
        return bool(self._files.exists(self._path("")))

    def matching(self, pattern: SpanPattern) -> list[str]:
        """Returns relative paths of the files that match; see listing.py."""
        return matching_files(pattern, self._base, self._entries)

    def describe(self, path: str) -> dict[str, Any]:
        """Returns path, size in bytes and the file system's checksum (HDFS: CRC32C; S3: ETag).

        Without a checksum it is the time of the last change, in milliseconds.
        """
        status = self._files.getFileStatus(self._path(path))
        checksum = self._files.getFileChecksum(status.getPath())
        if checksum is None:
            contents = f"modified:{status.getModificationTime()}"
        else:
            contents = f"{checksum.getAlgorithmName()}:{bytes(checksum.getBytes()).hex()}"
        return {"path": path, "bytes": status.getLen(), "checksum": contents}

    def head(self, path: str, size: int) -> bytes:
        """Returns the first bytes of a file."""
        stream = self._files.open(self._path(path))
        try:
            return bytes(stream.readNBytes(size))
        finally:
            stream.close()

    def first_line(self, path: str, comment: str = "") -> str:
        """Returns the first line of a text file (compressed or not) that is not blank, or ''.

        Args:
          path: Path relative to the base.
          comment: Prefix of comment lines, which are skipped; '' for none.
        """
        io, hadoop = self._jvm.java.io, self._jvm.org.apache.hadoop
        where = self._path(path)
        stream = self._files.open(where)
        codec = hadoop.io.compress.CompressionCodecFactory(self._conf).getCodec(where)
        try:
            opened = stream if codec is None else codec.createInputStream(stream)
            reader = io.BufferedReader(io.InputStreamReader(opened, "UTF-8"))
            line = ""
            while line is not None and _is_left_out(line, comment):
                line = reader.readLine()
        finally:
            stream.close()
        return (line or "").lstrip("\ufeff")

    def uri(self, path: str = "") -> str:
        """Returns the URI of a file, or of the base itself without an argument."""
        return f"{self._base}/{path}" if path else self._base

    def _entries(self, folder: str) -> list[Entry]:
        try:
            statuses = self._files.listStatus(self._path(folder))
        except Py4JJavaError as error:
            reason = str(error.java_exception.toString())
            if "FileNotFoundException" in reason:
                return []
            raise ComponentError(
                f"cannot list the folder {self.uri(folder)}: {reason.splitlines()[0][:300]}"
            ) from error
        return [
            Entry(status.getPath().getName(), FILE if status.isFile() else FOLDER)
            for status in statuses
        ]

    def _path(self, relative: str) -> Any:
        return self._jvm.org.apache.hadoop.fs.Path(self.uri(relative))


def _is_left_out(line: str, comment: str) -> bool:
    text = line.lstrip("\ufeff")
    return not text.strip() or bool(comment and text.startswith(comment))


def for_spark(uri: str) -> str:
    """Escapes the URI of a file for Spark's readers, which take every path as a glob."""
    return _GLOB_CHARACTERS.sub(r"\\\1", uri)


def require_folder(files: HadoopFiles, source: str, base: str) -> None:
    """Raises ComponentError when `base` does not exist."""
    if not files.exists():
        raise ComponentError(
            f"source '{source}': {base} does not exist; correct the path or the URI"
        )
