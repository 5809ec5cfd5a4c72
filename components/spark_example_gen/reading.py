"""Sources to Spark DataFrames: explicit schemas, unreadable lines set apart, columns checked."""

from __future__ import annotations

import csv
import dataclasses
import gzip

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from components.errors import ComponentError
from components.spark_example_gen.rows import REASON, RECORD, quarantined
from components.spark_example_gen.sources import TEXT_FORMATS, FileSource

_CORRUPT = "_corrupt_record"
UNPARSEABLE = "unparseable"
# A cast among these keeps what can be kept; any other would turn values into nulls unseen.
_NUMBERS = {"tinyint", "smallint", "int", "bigint", "float", "double"}


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
    frame = _read_text(spark, name, source, files).persist(StorageLevel.MEMORY_AND_DISK)
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


def _read_text(spark: SparkSession, name: str, source: FileSource, files: list[str]) -> DataFrame:
    """The declared columns and _CORRUPT, which holds a line that does not fit them."""
    types = dict(source.columns)
    if source.format == "csv":
        # Spark takes CSV columns by position: the schema follows the header of the files.
        types = {column: types.get(column, "string") for column in csv_header(name, source, files)}
    columns = ", ".join(f"`{column}` {kind}" for column, kind in types.items())
    reader = spark.read.format(source.format).schema(f"{columns}, {_CORRUPT} string")
    reader = reader.option("mode", "PERMISSIVE").option("columnNameOfCorruptRecord", _CORRUPT)
    if source.format == "csv":
        reader = reader.option("header", "true").option("escape", '"')
    frame = reader.options(**source.options).load(files)
    return frame.select(*[F.col(f"`{column}`") for column in source.columns], _CORRUPT)


def csv_header(name: str, source: FileSource, files: list[str]) -> list[str]:
    """The columns of the files, which must be the same in all of them.

    Raises:
      ComponentError: a declared column is missing, or a file has other columns than the first one.
    """
    headers = {}
    for path in files:
        opener = gzip.open if path.endswith(".gz") else open
        with opener(path, "rt", encoding="utf-8-sig", errors="replace", newline="") as file:
            rows = csv.reader(file, delimiter=source.options.get("sep", ","))
            headers[path] = next(rows, [])
    present = {path: header for path, header in headers.items() if header}
    if not present:
        raise ComponentError(f"source '{name}' is empty: its files hold no row")
    first, header = next(iter(present.items()))
    for path, other in present.items():
        if other != header:
            raise ComponentError(
                f"source '{name}': {path} has the columns {', '.join(other)}, but {first} has "
                f"{', '.join(header)}; bring them into one form"
            )
    for column in source.columns:
        if column not in header:
            raise _missing_column(name, column, header)
    return header


def _read_columnar(
    spark: SparkSession, name: str, source: FileSource, files: list[str]
) -> SourceRows:
    frame = spark.read.format(source.format).options(**source.options).load(files)
    types = dict(frame.dtypes)
    for column, wanted in source.columns.items():
        if column not in types:
            raise _missing_column(name, column, frame.columns)
        if types[column] != wanted:
            if not {types[column], wanted} <= _NUMBERS:
                raise ComponentError(
                    f"source '{name}': column '{column}' is {types[column]} in the files, but "
                    f"`columns` says {wanted}"
                )
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
