"""Sources to Spark DataFrames: explicit schemas, unreadable lines set apart, columns checked."""

from __future__ import annotations

import dataclasses

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from components.errors import ComponentError
from components.spark_example_gen.rows import REASON, RECORD, quarantined
from components.spark_example_gen.sources import TEXT_FORMATS, FileSource

_CORRUPT = "_corrupt_record"
UNPARSEABLE = "unparseable"


@dataclasses.dataclass(frozen=True)
class SourceRows:
    """Attributes:
    rows: what could be read; the ETL gets this.
    unparseable: lines that could not, as rows for the quarantine; None for binary formats.
    read: number of rows and lines read, both kinds.
    """

    rows: DataFrame
    unparseable: DataFrame | None
    read: int


def read_source(
    spark: SparkSession, name: str, source: FileSource, files: list[str], primary: bool
) -> SourceRows:
    """Reads one source.

    Text is parsed once and kept (memory, then disk): the rows that are counted, refused and turned
    into features are then the same rows even if a file changes meanwhile.

    Raises:
      ComponentError: no row at all, or a declared column that is absent or null everywhere.
    """
    if source.format not in TEXT_FORMATS:
        return _read_columnar(spark, name, source, files)
    frame = _text_reader(spark, source).load(files).persist(StorageLevel.MEMORY_AND_DISK)
    counts = frame.select(
        F.count(F.lit(1)),
        F.count(_CORRUPT),
        *[F.count(F.when(F.col(_CORRUPT).isNull(), F.col(f"`{c}`"))) for c in source.columns],
    ).first()
    assert counts is not None
    read, corrupt_lines, *values = counts
    _check_columns(name, source, read, read - corrupt_lines, values)
    corrupt = frame.where(F.col(_CORRUPT).isNotNull()).select(
        F.lit(UNPARSEABLE).alias(REASON), F.col(_CORRUPT).alias("line")
    )
    unparseable = quarantined(corrupt, None if primary else name).withColumn(
        RECORD, F.get_json_object(RECORD, "$.line")
    )
    rows = frame.where(F.col(_CORRUPT).isNull()).drop(_CORRUPT)
    return SourceRows(rows, unparseable, read)


def _text_reader(spark: SparkSession, source: FileSource):  # type: ignore[no-untyped-def]
    columns = ", ".join(f"`{c}` {t}" for c, t in source.columns.items())
    reader = spark.read.format(source.format).schema(f"{columns}, {_CORRUPT} string")
    reader = reader.option("mode", "PERMISSIVE").option("columnNameOfCorruptRecord", _CORRUPT)
    if source.format == "csv":
        # enforceSchema=false: columns are checked against the header, not taken by position
        reader = reader.option("header", "true").option("enforceSchema", "false")
        reader = reader.option("escape", '"')
    return reader.options(**source.options)


def _read_columnar(
    spark: SparkSession, name: str, source: FileSource, files: list[str]
) -> SourceRows:
    frame = spark.read.format(source.format).options(**source.options).load(files)
    types = dict(frame.dtypes)
    for column, wanted in source.columns.items():
        if column not in types:
            raise _missing_column(name, column, frame.columns)
        if types[column] != wanted:
            frame = frame.withColumn(column, F.col(column).cast(wanted))
    if source.columns:
        frame = frame.select(*source.columns)
    counts = frame.select(F.count(F.lit(1)), *[F.count(f"`{c}`") for c in source.columns]).first()
    assert counts is not None
    read, *values = counts
    _check_columns(name, source, read, read, values)
    return SourceRows(frame, None, read)


def _check_columns(
    name: str, source: FileSource, read: int, readable: int, values: list[int]
) -> None:
    """`values`: how many rows have a value, for each declared column."""
    if read == 0:
        raise ComponentError(f"source '{name}' is empty: its files hold no row")
    if readable == 0:
        raise ComponentError(
            f"source '{name}': none of its {read:,} lines is readable as "
            f"{source.format}; is `format` right?"
        )
    filled = [column for column, count in zip(source.columns, values, strict=True) if count]
    for column in source.columns:
        if column not in filled:
            raise _missing_column(name, column, filled)


def _missing_column(name: str, column: str, present: list[str]) -> ComponentError:
    return ComponentError(
        f"source '{name}' has no column '{column}' (or nothing in it); it has: "
        f"{', '.join(sorted(present))}. Mend the data or `columns` in the config"
    )
