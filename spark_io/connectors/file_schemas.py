"""Checks that all files of a source have the same columns, by their footers and headers.

Spark takes the columns of one file for all files, so a column with another name or type in a second
file would silently become null. A damaged file is found here as well.
"""

from __future__ import annotations

import abc
import contextlib
import re
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

import base.arrow  # noqa: F401
from base.errors import ComponentError
from spark_io.sources.column_names import reserved_in, same_but_for_case

# Logical types on which Spark 3.5 or 4.1 fails.
_UNSUPPORTED_TYPES = re.compile(
    r"TIMESTAMP\(NANOS,\w+\)|TIME\(\w+,\w+\)|\bUUID\b|\bINTERVAL\b|\bFLOAT16\b|"
    r"DECIMAL\((?:39|[4-9]\d|\d{3,}),\d+\)"
)
_PARALLEL_READS = 16  # a footer is a round trip or two to HDFS or S3


def check_same_columns(
    spark: SparkSession, name: str, kind: str, uris: list[str], columns: Collection[str]
) -> list[str]:
    """Checks that files have the same columns, and returns the columns.

    Args:
      spark: Session whose JVM reads the files' schemas.
      name: Name of the source.
      kind: Format of the files: parquet, orc or avro.
      uris: URIs of the files.
      columns: Columns to compare; empty for all.

    Raises:
      ComponentError: Two files differ, a file cannot be read, a column has a reserved name, or two
        columns differ only in upper and lower case.
    """
    kinds: dict[str, type[_Reader]] = {"parquet": _Parquet, "orc": _Orc, "avro": _Avro}
    reader = kinds[kind](spark)

    def opened(ask: Callable[[str], Any], uri: str) -> Any:
        try:
            return ask(uri)
        except Py4JJavaError as error:
            reason = str(error.java_exception.toString()).splitlines()[0]
            if "AccessDenied" in reason or "Permission denied" in reason:
                raise ComponentError(f"source '{name}': no permission to read {uri}") from error
            raise ComponentError(
                f"source '{name}': {uri} is not a whole {kind} file; it is cut short, damaged or "
                "in another format, so replace it"
            ) from error

    def fields(uri: str) -> dict[str, str]:
        found = dict(opened(reader.fields, uri))
        if kind == "parquet":
            _check_parquet_types(name, uri, found)
        return {c: t for c, t in found.items() if c in columns} if columns else found

    # A schema as text takes one call to the JVM, but two calls for each of its fields.
    with ThreadPoolExecutor(_PARALLEL_READS) as pool:
        texts = list(pool.map(lambda uri: opened(reader.text, uri), uris))
    first = fields(uris[0])
    problem = reserved_in(first) or same_but_for_case(first)
    if problem:
        raise ComponentError(f"source '{name}', {uris[0]}: {problem}")
    same = {texts[0]}
    for uri, text in zip(uris, texts, strict=True):
        if text in same:
            continue
        other = fields(uri)
        if other != first:
            raise ComponentError(
                f"source '{name}': {uri} and {uris[0]} have different columns "
                f"({_difference(other, first)}); give all files the same columns, or name "
                "in `columns` those that all files have"
            )
        same.add(text)
    return list(first)


def _check_parquet_types(name: str, uri: str, fields: dict[str, str]) -> None:
    """Raises ComponentError for a column that makes Spark fail on the file, even if unused."""
    for column, kind in fields.items():
        if found := _UNSUPPORTED_TYPES.search(kind):
            raise ComponentError(
                f"source '{name}': column '{column}' of {uri} is {found.group(0)}, which Spark "
                "does not read; write timestamps in microseconds (pandas: coerce_timestamps='us'), "
                "times, UUIDs and wider decimals as text, or leave the column out"
            )


def _difference(one: dict[str, str], other: dict[str, str]) -> str:
    column = next(c for c in (*one, *other) if one.get(c) != other.get(c))
    return f"{column}: {one.get(column, 'missing')} and {other.get(column, 'missing')}"


class _Reader(abc.ABC):
    """Reads the schemas of files in the JVM."""

    def __init__(self, spark: SparkSession):
        self.jvm: Any = spark._jvm
        self.conf = spark._jsc.hadoopConfiguration()

    def path(self, uri: str) -> Any:
        return self.jvm.org.apache.hadoop.fs.Path(uri)

    def text(self, uri: str) -> str:
        """Returns a file's schema as text; equal texts mean equal schemas."""
        with self.schema(uri) as schema:
            return str(schema.toString())

    @abc.abstractmethod
    def schema(self, uri: str) -> AbstractContextManager[Any]:
        """Opens a file for its schema."""

    @abc.abstractmethod
    def fields(self, uri: str) -> list[tuple[str, str]]:
        """Returns the columns of a file and their types."""


class _Parquet(_Reader):
    def text(self, uri: str) -> str:
        if uri.startswith("file:"):  # ten thousand files take a second without the JVM
            with contextlib.suppress(pa.ArrowException, OSError):
                return str(pq.read_schema(uri.removeprefix("file:")).remove_metadata())
        return super().text(uri)

    @contextlib.contextmanager
    def schema(self, uri: str) -> Iterator[Any]:
        parquet = self.jvm.org.apache.parquet.hadoop
        file = parquet.util.HadoopInputFile.fromPath(self.path(uri), self.conf)
        reader = parquet.ParquetFileReader.open(file)
        try:
            yield reader.getFooter().getFileMetaData().getSchema()
        finally:
            reader.close()

    def fields(self, uri: str) -> list[tuple[str, str]]:
        with self.schema(uri) as schema:
            # 'optional int64 id' and 'required int64 id' are the same type
            return [(f.getName(), str(f.toString()).partition(" ")[2]) for f in schema.getFields()]


class _Orc(_Reader):
    @contextlib.contextmanager
    def schema(self, uri: str) -> Iterator[Any]:
        orc = self.jvm.org.apache.orc.OrcFile
        reader = orc.createReader(self.path(uri), orc.readerOptions(self.conf))
        try:
            yield reader.getSchema()
        finally:
            reader.close()

    def fields(self, uri: str) -> list[tuple[str, str]]:
        with self.schema(uri) as schema:
            names, kinds = schema.getFieldNames(), schema.getChildren()
            return [(n, str(k.toString())) for n, k in zip(names, kinds, strict=True)]


class _Avro(_Reader):
    @contextlib.contextmanager
    def schema(self, uri: str) -> Iterator[Any]:
        avro = self.jvm.org.apache.avro
        file = avro.mapred.FsInput(self.path(uri), self.conf)
        reader = avro.file.DataFileReader(file, avro.generic.GenericDatumReader())
        try:
            yield reader.getSchema()
        finally:
            reader.close()

    def fields(self, uri: str) -> list[tuple[str, str]]:
        with self.schema(uri) as schema:
            return [(f.name(), str(f.schema().toString())) for f in schema.getFields()]
