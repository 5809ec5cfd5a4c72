"""Reads sources for the ETL: counts rows, rejects unreadable ones and checks columns."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping

from py4j.protocol import Py4JJavaError
from pyspark import StorageLevel
from pyspark.errors import ParseException, PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from base.errors import ComponentError
from spark_io.connectors import CONNECTORS
from spark_io.connectors.connector import SourceInput, missing_column
from spark_io.connectors.files import cut_short
from spark_io.connectors.queries import contents_checksum
from spark_io.examples.rows import QUARANTINED
from spark_io.sources.column_names import (
    OUTCOME,
    REASON,
    RECORD,
    SOURCE,
    ddl,
    quoted,
    reserved_in,
    same_but_for_case,
)
from spark_io.sources.source_types import AnySource, FileSource, KafkaSource, QuerySource

# Declared type -> types in the data that convert to it without loss.
_LOSSLESS_FROM = {
    "smallint": {"tinyint"},
    "int": {"tinyint", "smallint"},
    "bigint": {"tinyint", "smallint", "int"},
    "float": {"tinyint", "smallint"},
    "double": {"tinyint", "smallint", "int", "float"},
}
_FIRST_ROWS = 1_000
_TRIED_COLUMNS = 50


@dataclasses.dataclass(frozen=True)
class SourceRows:
    """The rows of one source.

    Attributes:
      rows: Readable rows, for the ETL.
      rejected: Unreadable rows, for the quarantine; None if there are none.
      read: Number of rows read, both kinds.
      checksum: Checksum of the contents, if the fingerprint uses it.
    """

    rows: DataFrame
    rejected: DataFrame | None
    read: int
    checksum: str | None = None


def read_source(
    spark: SparkSession, name: str, source: AnySource, found: SourceInput, base: str, primary: bool
) -> SourceRows:
    """Reads one source.

    Rows that a second reading could change are persisted, so that the same rows are counted,
    rejected and encoded. They are on disk: memory would be no faster, and the ETL needs it.

    Raises:
      ComponentError: The source is empty, or a declared column is absent, of another type, or null
        in every row.
    """
    source = dataclasses.replace(source, columns=spark_types(spark, name, source.columns))
    result = CONNECTORS[source.kind].read(spark, name, source, found, base)
    rows = result.frame.persist(StorageLevel.DISK_ONLY) if result.must_persist else result.frame
    frame = rows if is_text(source) else _declared_columns(name, source, rows, result.has_reasons)
    try:
        read, readable, filled = _counts(frame, source, result.has_reasons)
    except (PySparkException, Py4JJavaError) as error:
        damaged = cut_short(source, found, base) if isinstance(source, FileSource) else None
        if damaged is not None:
            raise ComponentError(f"{damaged} is cut short or damaged; replace it") from error
        raise
    checksum = None
    if isinstance(source, QuerySource) and source.fingerprint == "contents":
        checksum = contents_checksum(rows)
    if read and not readable:
        raise _nothing_readable(
            name, source, read, columns_that_fail(spark, name, source, found, base)
        )
    # An index tells an empty span from a missing one, and a log begins without a past.
    if read or primary or not (isinstance(source, FileSource) and source.index):
        _check_columns(name, source, read, filled)
    if not result.has_reasons:
        return SourceRows(frame, None, read, checksum)
    return SourceRows(*_divided(name, frame, primary, read - readable), read, checksum)


def is_text(source: AnySource) -> bool:
    """Returns whether rows are parsed from text, with the types in `columns`."""
    return isinstance(source, KafkaSource) or (
        isinstance(source, FileSource) and source.format in ("json", "csv")
    )


def _divided(
    name: str, frame: DataFrame, primary: bool, bad: int
) -> tuple[DataFrame, DataFrame | None]:
    """Returns the readable rows, and the others as rows for the quarantine, if any."""
    readable = F.col(REASON).isNull()
    rows = frame.where(readable).drop(REASON, RECORD)
    if not bad:
        return rows, None
    return rows, frame.where(~readable).select(
        F.lit(QUARANTINED).alias(OUTCOME),
        REASON,
        F.lit(None if primary else name).cast("string").alias(SOURCE),
        RECORD,
    )


def spark_types(spark: SparkSession, name: str, columns: Mapping[str, str]) -> dict[str, str]:
    """Returns the types of columns as Spark itself writes them, such as bigint for `long`.

    Raises:
      ComponentError: Spark does not know the type of a column.
    """
    if not columns:
        return {}
    with contextlib.suppress(ParseException):
        types = dict(spark.createDataFrame([], ddl(columns)).dtypes)
        if list(types) == list(columns):  # the parser also takes "int, b int" for a type
            return types
    for column, kind in columns.items():
        try:
            known = len(spark.createDataFrame([], ddl({column: kind})).dtypes) == 1
        except ParseException:
            known = False
        if not known:
            raise ComponentError(
                f"source '{name}': Spark does not know the type of column '{column}'. "
                f"Received: {kind}"
            )
    raise AssertionError(f"each of {columns} is valid, but not all together")


def _declared_columns(
    name: str, source: AnySource, frame: DataFrame, has_reasons: bool
) -> DataFrame:
    """Returns the declared columns with their types, or all columns if none is declared."""
    types = dict(frame.dtypes)
    ours = (REASON, RECORD) if has_reasons else ()
    theirs = [column for column in frame.columns if column not in ours]
    problem = same_but_for_case(theirs) or reserved_in(source.columns or theirs)
    if problem:
        raise ComponentError(f"source '{name}': {problem}")
    if not source.columns:
        return frame
    chosen = []
    for column, wanted in source.columns.items():
        if column not in types:
            raise missing_column(name, column, theirs)
        if types[column] != wanted and types[column] not in _LOSSLESS_FROM.get(wanted, ()):
            raise ComponentError(
                f"source '{name}': column '{column}' is {types[column]} in the data, but "
                f"`columns` says {wanted}, which may not hold its values; declare it as it is, "
                "and cast it in the ETL"
            )
        value = F.col(quoted(column))
        chosen.append(value if types[column] == wanted else value.cast(wanted).alias(column))
    folders = source.folder_columns if isinstance(source, FileSource) else ()
    return frame.select(*chosen, *[F.col(quoted(column)) for column in (*folders, *ours)])


def _counts(frame: DataFrame, source: AnySource, has_reasons: bool) -> tuple[int, int, set[str]]:
    """Returns the numbers of all and of readable rows, and the declared columns with a value."""
    bad = F.count(REASON) if has_reasons else F.lit(0)
    counts = frame.select(F.count(F.lit(1)), bad).first()
    assert counts is not None
    read, rejected = counts
    readable = frame.where(F.col(REASON).isNull()) if has_reasons else frame
    filled: set[str] = set()
    # The first rows show a value for nearly all columns. Only the others need all rows.
    for rows in (readable.limit(_FIRST_ROWS), readable):
        unseen = [column for column in source.columns if column not in filled]
        if unseen:
            seen = rows.selectExpr(*[f"count({quoted(column)})" for column in unseen]).first()
            assert seen is not None
            filled |= {column for column, count in zip(unseen, seen, strict=True) if count}
    return read, read - rejected, filled


def columns_that_fail(
    spark: SparkSession, name: str, source: AnySource, found: SourceInput, base: str
) -> list[str]:
    """Returns the declared columns without any value that fits, among the first rows of text.

    Each is read alone, up to a limit, for the message of a run that fails anyway.
    """
    failing = []
    for column, kind in list(source.columns.items())[:_TRIED_COLUMNS] if is_text(source) else ():
        alone = dataclasses.replace(source, columns={column: kind})
        rows = (
            CONNECTORS[source.kind].read(spark, name, alone, found, base).frame.limit(_FIRST_ROWS)
        )
        if not rows.where(F.col(REASON).isNull()).take(1):
            failing.append(f"'{column}' ({kind})")
    return failing


def _nothing_readable(
    name: str, source: AnySource, read: int, failing: list[str]
) -> ComponentError:
    form = getattr(source, "format", "what `columns` says")
    if failing and len(failing) < len(source.columns):
        why = f"no value of {', '.join(failing)} fits its type; correct `columns`"
    else:
        why = "correct `format` or `columns`"
    return ComponentError(
        f"source '{name}': none of its {read:,} rows is readable as {form}; {why}"
    )


def _check_columns(name: str, source: AnySource, read: int, filled: set[str]) -> None:
    """Raises ComponentError for a source without rows, or a declared column without values."""
    if read == 0:
        raise ComponentError(f"source '{name}' is empty: it has no rows")
    for column in source.columns:
        if column not in filled and column not in source.may_be_null:
            raise missing_column(name, column, sorted(filled))
