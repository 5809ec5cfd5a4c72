"""Files by Hadoop's file systems (HDFS, S3A, and local ones too), through Spark's JVM.

The same client, settings and credentials that Spark reads with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from components.errors import ComponentError


class HadoopFiles:
    """One folder or URI."""

    def __init__(self, spark: SparkSession, base: str):
        jvm: Any = spark._jvm
        self._jvm = jvm
        self._conf = spark._jsc.hadoopConfiguration()  # type: ignore[attr-defined]
        path = jvm.org.apache.hadoop.fs.Path(
            base if "://" in base else f"file://{Path(base).resolve()}"
        )
        self._files = path.getFileSystem(self._conf)
        self._base = self._files.makeQualified(path).toString().rstrip("/")

    def exists(self) -> bool:
        return bool(self._files.exists(self._path("")))

    def list(self, glob: str) -> list[str]:
        """Relative paths of the files that match."""
        statuses = self._files.globStatus(self._path(glob)) or []
        return [
            status.getPath().toString()[len(self._base) + 1 :]
            for status in statuses
            if status.isFile()
        ]

    def describe(self, path: str) -> dict[str, Any]:
        """Size, and a checksum of the contents that the file system keeps (HDFS: CRC32C; S3: ETag).

        A file system that keeps none gives the time of the last change, in milliseconds.
        """
        status = self._files.getFileStatus(self._path(path))
        checksum = self._files.getFileChecksum(status.getPath())
        if checksum is None:
            contents = f"modified:{status.getModificationTime()}"
        else:
            contents = f"{checksum.getAlgorithmName()}:{bytes(checksum.getBytes()).hex()}"
        return {"path": path, "bytes": status.getLen(), "checksum": contents}

    def first_line(self, path: str) -> str:
        """The first line of a text file (compressed or not) that is not blank, or ''."""
        io, hadoop = self._jvm.java.io, self._jvm.org.apache.hadoop
        where = self._path(path)
        stream = self._files.open(where)
        codec = hadoop.io.compress.CompressionCodecFactory(self._conf).getCodec(where)
        try:
            opened = stream if codec is None else codec.createInputStream(stream)
            reader = io.BufferedReader(io.InputStreamReader(opened, "UTF-8"))
            line = ""
            while line is not None and not line.lstrip("\ufeff").strip():
                line = reader.readLine()
        finally:
            stream.close()
        return (line or "").lstrip("\ufeff")

    def uri(self, path: str) -> str:
        return f"{self._base}/{path}"

    def _path(self, relative: str) -> Any:
        text = f"{self._base}/{relative}" if relative else self._base
        return self._jvm.org.apache.hadoop.fs.Path(text)


def require_folder(files: HadoopFiles, source: str, base: str) -> None:
    """Raises ComponentError when there is nothing at `base`."""
    if not files.exists():
        raise ComponentError(f"source '{source}': there is nothing at {base}")
