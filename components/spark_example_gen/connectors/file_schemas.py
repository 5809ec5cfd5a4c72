"""Whether all files of a source have the same columns, by what their footers and headers say.

Spark takes the columns of one file for those of all: what another one calls or types differently
would turn into nulls unseen. A damaged file is found here as well, by its name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from components.errors import ComponentError

_AT_A_TIME = 16  # a footer is a round trip or two to HDFS or S3


def check_same_columns(
    spark: SparkSession, name: str, kind: str, uris: list[str], columns: Collection[str] | None
) -> None:
    """Compares the columns of files.

    Args:
      spark: its JVM reads the files' schemas.
      name: of the source.
      kind: parquet, orc or avro.
      uris: of the files.
      columns: those that must agree; None: all of them.

    Raises:
      ComponentError: two files disagree, or one cannot be read; both are named.
    """
    reader = {"parquet": _parquet, "orc": _orc, "avro": _avro}[kind]

    def schema(uri: str) -> dict[str, str]:
        try:
            found = dict(reader(spark, uri))
        except Py4JJavaError as error:
            reason = str(error.java_exception.toString()).splitlines()[0]
            if "AccessDenied" in reason or "Permission denied" in reason:
                raise ComponentError(f"source '{name}': no permission to read {uri}") from error
            raise ComponentError(
                f"source '{name}': {uri} is no whole {kind} file: cut short, damaged or of another "
                "format; replace it"
            ) from error
        return found if columns is None else {c: t for c, t in found.items() if c in columns}

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        schemas = list(pool.map(schema, uris))
    for uri, other in zip(uris, schemas, strict=True):
        if other != schemas[0]:
            raise ComponentError(
                f"source '{name}': {uri} and {uris[0]} have different columns "
                f"({_difference(other, schemas[0])}); bring them into one form, or name in "
                "`columns` the ones that all files have"
            )


def _difference(one: dict[str, str], other: dict[str, str]) -> str:
    column = next(c for c in (*one, *other) if one.get(c) != other.get(c))
    return f"{column}: {one.get(column, 'missing')} and {other.get(column, 'missing')}"


def _parquet(spark: SparkSession, uri: str) -> Iterable[tuple[str, str]]:
    jvm: Any = spark._jvm
    conf = spark._jsc.hadoopConfiguration()  # type: ignore[attr-defined]
    parquet = jvm.org.apache.parquet.hadoop
    file = parquet.util.HadoopInputFile.fromPath(jvm.org.apache.hadoop.fs.Path(uri), conf)
    reader = parquet.ParquetFileReader.open(file)
    try:
        fields = reader.getFooter().getFileMetaData().getSchema().getFields()
        # 'optional int64 id' and 'required int64 id' differ in what may be missing, not in type
        return [(f.getName(), str(f.toString()).partition(" ")[2]) for f in fields]
    finally:
        reader.close()


def _orc(spark: SparkSession, uri: str) -> Iterable[tuple[str, str]]:
    jvm: Any = spark._jvm
    conf = spark._jsc.hadoopConfiguration()  # type: ignore[attr-defined]
    orc = jvm.org.apache.orc.OrcFile
    reader = orc.createReader(jvm.org.apache.hadoop.fs.Path(uri), orc.readerOptions(conf))
    try:
        schema = reader.getSchema()
        names, kinds = schema.getFieldNames(), schema.getChildren()
        return [(n, str(k.toString())) for n, k in zip(names, kinds, strict=True)]
    finally:
        reader.close()


def _avro(spark: SparkSession, uri: str) -> Iterable[tuple[str, str]]:
    jvm: Any = spark._jvm
    conf = spark._jsc.hadoopConfiguration()  # type: ignore[attr-defined]
    avro = jvm.org.apache.avro
    file = avro.mapred.FsInput(jvm.org.apache.hadoop.fs.Path(uri), conf)
    reader = avro.file.DataFileReader(file, avro.generic.GenericDatumReader())
    try:
        return [(f.name(), str(f.schema().toString())) for f in reader.getSchema().getFields()]
    finally:
        reader.close()
