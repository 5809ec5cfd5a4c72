"""Sources to the ETL's DataFrames: counted, unreadable rows set apart, columns checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from py4j.protocol import Py4JJavaError
from pyspark import StorageLevel
from pyspark.errors import ParseException, PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from components.errors import ComponentError
from components.spark_example_gen.connectors import BY_KIND
from components.spark_example_gen.connectors.files import cut_short
from components.spark_example_gen.connectors.found import Found, missing_column
from components.spark_example_gen.connectors.queries import contents_checksum
from components.spark_example_gen.rows import (
    OUTCOME,
    QUARANTINED,
    REASON,
    RECORD,
    SOURCE,
    quoted,
)
from components.spark_example_gen.sources import AnySource, FileSource, QuerySource

# What else a declared type may be read from: any other cast would change values unseen.
_WIDENS = {
    "smallint": {"tinyint"},
    "int": {"tinyint", "smallint"},
    "bigint": {"tinyint", "smallint", "int"},
    "float": {"tinyint", "smallint"},
    "double": {"tinyint", "smallint", "int", "float"},
}


@dataclasses.dataclass(frozen=True)
class SourceRows:
    """Attributes:
    rows: what could be read; the ETL gets this.
    refused: what could not, as rows for the quarantine; None if there is none.
    read: number of rows read, both kinds.
    checksum: of the contents, where it stands for them in the fingerprint.
    """

    rows: DataFrame
    refused: DataFrame | None
    read: int
    checksum: str | None = None


def read_source(
    spark: SparkSession, name: str, source: AnySource, found: Found, base: str, primary: bool
) -> SourceRows:
    """Reads one source.

    What another reading might give differently is kept: the rows that are counted, refused and
    turned into features are then the same rows. On disk: in memory it would be no faster, and leave
    too little for the ETL.

    Raises:
      ComponentError: no row at all, or a declared column that is absent, of another type, or null
        everywhere.
    """
    source = dataclasses.replace(source, columns=spark_types(spark, name, source.columns))
    result = BY_KIND[source.kind].read(spark, name, source, found, base)
    frame = result.frame.persist(StorageLevel.DISK_ONLY) if result.keep else result.frame
    if result.is_text:
        try:
            return _divide_text(name, source, frame, primary)
        except (PySparkException, Py4JJavaError) as error:
            damaged = cut_short(source, found, base) if isinstance(source, FileSource) else None
            if damaged is not None:
                raise ComponentError(f"{damaged} is cut short or damaged; replace it") from error
            raise
    checksum = None
    if isinstance(source, QuerySource) and source.fingerprint == "contents":
        checksum = contents_checksum(frame)
    frame = _declared_columns(name, source, frame)
    read, values = _counts(frame, source)
    if read or not (isinstance(source, FileSource) and source.spans_before):
        _check_columns(name, source, read, read, values)
    return SourceRows(frame, None, read, checksum)


def _divide_text(name: str, source: AnySource, frame: DataFrame, primary: bool) -> SourceRows:
    readable = F.col(REASON).isNull()
    counts = frame.select(
        F.count(F.lit(1)),
        F.count(REASON),
        *[F.count(F.when(readable, F.col(quoted(c)))) for c in source.columns],
    ).first()
    assert counts is not None
    read, bad, *values = counts
    _check_columns(name, source, read, read - bad, values)
    rows = frame.where(readable).drop(REASON, RECORD)
    if not bad:
        return SourceRows(rows, None, read)
    refused = frame.where(~readable).select(
        F.lit(QUARANTINED).alias(OUTCOME),
        REASON,
        F.lit(None if primary else name).cast("string").alias(SOURCE),
        RECORD,
    )
    return SourceRows(rows, refused, read)


def spark_types(spark: SparkSession, name: str, columns: Mapping[str, str]) -> dict[str, str]:
    """Types as Spark itself writes them: `long` is bigint.

    Raises:
      ComponentError: naming a column whose type Spark does not know.
    """
    types = {}
    for column, kind in columns.items():
        try:
            ((_, types[column]),) = spark.createDataFrame([], f"{quoted(column)} {kind}").dtypes
        except ParseException as error:
            raise ComponentError(
                f"source '{name}': the type of column '{column}', {kind}, is none that Spark knows"
            ) from error
    return types


def _declared_columns(name: str, source: AnySource, frame: DataFrame) -> DataFrame:
    types = dict(frame.dtypes)
    for column, wanted in source.columns.items():
        if column not in types:
            raise missing_column(name, column, frame.columns)
        if types[column] != wanted:
            if types[column] not in _WIDENS.get(wanted, ()):
                raise ComponentError(
                    f"source '{name}': column '{column}' is {types[column]} in the data, but "
                    f"`columns` says {wanted}, which may not hold its values; declare it as it is, "
                    "and cast it in the ETL"
                )
            frame = frame.withColumn(column, F.col(quoted(column)).cast(wanted))
    return frame.select(*[F.col(quoted(c)) for c in source.columns]) if source.columns else frame


def _counts(frame: DataFrame, source: AnySource) -> tuple[int, list[int]]:
    """(rows, rows with a value for each declared column)."""
    counts = frame.select(F.count(F.lit(1)), *[F.count(quoted(c)) for c in source.columns]).first()
    assert counts is not None
    read, *values = counts
    return read, values


def _check_columns(
    name: str, source: AnySource, read: int, readable: int, values: list[int]
) -> None:
    """`values`: how many rows have a value, for each declared column."""
    if read == 0:
        raise ComponentError(f"source '{name}' is empty: it holds no row")
    if readable == 0:
        raise ComponentError(
            f"source '{name}': none of its {read:,} lines is readable as "
            f"{getattr(source, 'format', 'json')}; is the format right?"
        )
    filled = [column for column, count in zip(source.columns, values, strict=True) if count]
    for column in source.columns:
        if column not in filled and column not in source.may_be_null:
            raise missing_column(name, column, filled)
