"""Sources to the ETL's DataFrames: counted, unreadable rows set apart, columns checked."""

from __future__ import annotations

import dataclasses

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from components.errors import ComponentError
from components.spark_example_gen.connectors import BY_KIND
from components.spark_example_gen.connectors.files import missing_column
from components.spark_example_gen.connectors.found import CORRUPT, Found
from components.spark_example_gen.connectors.queries import contents_checksum
from components.spark_example_gen.rows import REASON, RECORD, quarantined
from components.spark_example_gen.sources import AnySource, QuerySource

UNPARSEABLE = "unparseable"
# A cast among these keeps what can be kept; any other would turn values into nulls unseen.
_NUMBERS = {"tinyint", "smallint", "int", "bigint", "float", "double"}


@dataclasses.dataclass(frozen=True)
class SourceRows:
    """Attributes:
    rows: what could be read; the ETL gets this.
    unparseable: texts that could not, as rows for the quarantine; None where there is no text.
    read: number of rows read, both kinds.
    checksum: of the contents, where it stands for them in the fingerprint.
    """

    rows: DataFrame
    unparseable: DataFrame | None
    read: int
    checksum: str | None = None


def read_source(
    spark: SparkSession, name: str, source: AnySource, found: Found, base: str, primary: bool
) -> SourceRows:
    """Reads one source.

    What another reading might give differently is kept (memory, then disk): the rows that are
    counted, refused and turned into features are then the same rows.

    Raises:
      ComponentError: no row at all, or a declared column that is absent, of another type, or null
        everywhere.
    """
    result = BY_KIND[source.kind].read(spark, name, source, found, base)
    frame = result.frame.persist(StorageLevel.MEMORY_AND_DISK) if result.keep else result.frame
    if result.is_text:
        return _divide_text(name, source, frame, primary)
    checksum = None
    if isinstance(source, QuerySource) and source.fingerprint == "contents":
        checksum = contents_checksum(frame)
    frame = _declared_columns(name, source, frame)
    read, values = _counts(frame, source)
    _check_columns(name, source, read, read, values)
    return SourceRows(frame, None, read, checksum)


def _divide_text(name: str, source: AnySource, frame: DataFrame, primary: bool) -> SourceRows:
    counts = frame.select(
        F.count(F.lit(1)),
        F.count(CORRUPT),
        *[F.count(F.when(F.col(CORRUPT).isNull(), F.col(f"`{c}`"))) for c in source.columns],
    ).first()
    assert counts is not None
    read, corrupt_rows, *values = counts
    _check_columns(name, source, read, read - corrupt_rows, values)
    corrupt = frame.where(F.col(CORRUPT).isNotNull()).select(
        F.lit(UNPARSEABLE).alias(REASON), F.col(CORRUPT).alias("line")
    )
    unparseable = quarantined(corrupt, None if primary else name).withColumn(
        RECORD, F.get_json_object(RECORD, "$.line")
    )
    rows = frame.where(F.col(CORRUPT).isNull()).drop(CORRUPT)
    return SourceRows(rows, unparseable, read)


def _declared_columns(name: str, source: AnySource, frame: DataFrame) -> DataFrame:
    types = dict(frame.dtypes)
    for column, wanted in source.columns.items():
        if column not in types:
            raise missing_column(name, column, frame.columns)
        if types[column] != wanted:
            if not {types[column], wanted} <= _NUMBERS:
                raise ComponentError(
                    f"source '{name}': column '{column}' is {types[column]} in the data, but "
                    f"`columns` says {wanted}"
                )
            frame = frame.withColumn(column, F.col(f"`{column}`").cast(wanted))
    return frame.select(*[F.col(f"`{c}`") for c in source.columns]) if source.columns else frame


def _counts(frame: DataFrame, source: AnySource) -> tuple[int, list[int]]:
    """(rows, rows with a value for each declared column)."""
    counts = frame.select(F.count(F.lit(1)), *[F.count(f"`{c}`") for c in source.columns]).first()
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
        if column not in filled:
            raise missing_column(name, column, filled)
