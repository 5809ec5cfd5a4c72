"""Looks at all values of a table with Spark, and describes each column in numbers.

Values are read and judged by the same functions as in a run, so that what fits here fits there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pyspark.sql.functions as F  # noqa: N812
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql.types import BooleanType, DateType, DoubleType, LongType, TimestampType

from applications.commands.scaffold.missing import MISSING
from base.errors import ComponentError
from spark_io.connectors import CONNECTORS, text_values
from spark_io.connectors.connector import InputLocation
from spark_io.connectors.hadoop import for_spark
from spark_io.connectors.lines import CORRUPT
from spark_io.jobs.child import log_progress
from spark_io.sources.column_names import quoted, reserved_in, same_but_for_case
from spark_io.sources.reading import read_source
from spark_io.sources.source_types import FileSource
from spark_io.sources.spans import SpanRange

SOURCE = "rows"
_AT_ONCE = 40  # columns; Spark plans a query of thousands of aggregates for minutes
_QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
_MOST_LABELS = 1_000
_NUMBERS = ("tinyint", "smallint", "int", "bigint", "float", "double")
_TIMES = ("date", "timestamp", "timestamp_ntz")
_LEADING_ZERO = r"^[+-]?0[0-9]"


@dataclasses.dataclass(frozen=True)
class ColumnProfile:
    """The values of a column in all rows.

    Attributes:
      column: Name in the data.
      type: Spark SQL type that it was read with, string for every column of a csv file.
      filled: Number of values that are not null.
      missing_words: Number of texts that stand for a missing value, as in missing.py.
      distinct: Approximate number of different values, without the missing ones.
      whole: Number of whole numbers.
      leading_zeros: Number of numbers that begin with a 0, such as 007.
      numbers: Number of finite numbers.
      plain_numbers: Number of numbers without blanks around them.
      dates, times, booleans: Number of texts that are a date, a time, or true or false.
      shortest, longest: Lengths of the texts.
      lowest, quantiles, highest: Numbers at 0; 1, 25, 50, 75 and 99; and 100 %. None without
        numbers.
      odd: A value that is no number; None if all are.
    """

    column: str
    type: str
    filled: int = 0
    missing_words: int = 0
    distinct: int = 0
    whole: int = 0
    leading_zeros: int = 0
    numbers: int = 0
    plain_numbers: int = 0
    dates: int = 0
    times: int = 0
    booleans: int = 0
    longest: int = 0
    lowest: float | None = None
    quantiles: Sequence[float] | None = None
    highest: float | None = None
    odd: str | None = None

    @property
    def known(self) -> int:
        """The number of values that are not missing."""
        return self.filled - self.missing_words


@dataclasses.dataclass(frozen=True)
class TableProfile:
    """The columns of a table.

    Attributes:
      rows: Number of rows read, unreadable ones included.
      unreadable: Number of rows that cannot be read at all.
      columns: Profiles of the columns that can be used.
      labels: Text of the label -> number of rows, the most frequent first, at most 1,000.
      unique: Columns with another value in each readable row.
      unusable: Column -> why it cannot be used.
      options: Options of the reader that suit the files.
    """

    rows: int
    unreadable: int
    columns: Sequence[ColumnProfile]
    labels: Mapping[str, int]
    unique: Sequence[str]
    unusable: Mapping[str, str]
    options: Mapping[str, str]

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> TableProfile:
        columns = [ColumnProfile(**one) for one in content["columns"]]
        return cls(**{**content, "columns": columns})


def known_text(column: str) -> Column:
    """Returns a column as text without blanks around it; null where the value is missing."""
    text = F.trim(F.col(quoted(column)).cast("string"))
    return F.when(~F.lower(text).isin(*MISSING), text)


def known_number(column: str) -> Column:
    """Returns a column's finite numbers of 32 bits; null elsewhere."""
    value = text_values.from_text(known_text(column), DoubleType(), {})
    assert value is not None
    return F.when(F.abs(value.cast("float")) < float("inf"), value)


def read_table(
    spark: SparkSession, root: str, source: FileSource
) -> tuple[FileSource, DataFrame, int, int]:
    """Reads a table.

    Returns:
      The source with options that suit the files, its readable rows, the number of all rows, and
      that of unreadable ones.

    Raises:
      ComponentError: No row can be read.
    """
    try:
        first = (source, *_read(spark, root, source))
    except ComponentError as error:
        first, problem = None, error
    if source.format != "csv" or (first is not None and not first[3]):
        if first is None:
            raise problem
        return first
    log_progress("some lines are no rows; trying values with line breaks")
    several = dataclasses.replace(source, options={**source.options, "multiLine": "true"})
    try:
        second = (several, *_read(spark, root, several))
    except ComponentError:
        second = None
    if first is None and second is None:
        raise problem
    if first is None or (second is not None and second[3] < first[3]):
        assert second is not None
        return second
    return first


def _read(spark: SparkSession, root: str, source: FileSource) -> tuple[DataFrame, int, int]:
    """Returns the readable rows, and the numbers of all rows and of unreadable ones."""
    found = CONNECTORS[source.kind].find(SOURCE, source, SpanRange(), InputLocation(root, spark))
    rows = read_source(spark, SOURCE, source, found, root, primary=True)
    unreadable = 0 if rows.rejected is None else rows.rejected.count()
    return rows.rows, rows.read, unreadable


def json_columns(spark: SparkSession, root: str, path: str) -> dict[str, str]:
    """Returns column -> type of JSON lines, from all rows."""
    place = InputLocation(root, spark)
    named = FileSource("json", path, {"column": "string"})
    found = CONNECTORS["file"].find(SOURCE, named, SpanRange(), place)
    paths = [for_spark(f"file:{root}/{file['path']}") for file in found.facts["files"]]
    inferred = spark.read.option("columnNameOfCorruptRecord", CORRUPT).json(paths)
    types = {name: kind for name, kind in inferred.dtypes if name != CORRUPT}
    if not types:
        raise ComponentError("no line of the files is a JSON object; each line must be one")
    return {name: "double" if t.startswith("decimal") else t for name, t in types.items()}


def usable_columns(types: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Divides columns into those that can be read, and column -> reason for the others.

    Raises:
      ComponentError: Two columns differ only in upper and lower case.
    """
    if problem := same_but_for_case(types):
        raise ComponentError(problem)
    usable, not_usable = {}, {}
    for column, kind in types.items():
        simple = kind.partition("(")[0]
        if not column.strip():
            not_usable[column] = "has no name"
        elif reserved_in([column]):
            not_usable[column] = "has a reserved name; rename it in the data to use it"
        elif len(column) > 500:
            not_usable[column] = "has a name of more than 500 characters"
        elif simple not in (*_NUMBERS, *_TIMES, "decimal", "string", "boolean"):
            not_usable[column] = f"is of type {kind}; the ETL can take values out of it"
        else:
            usable[column] = kind
    return usable, not_usable


def column_profiles(rows: DataFrame, types: Mapping[str, str]) -> list[ColumnProfile]:
    """Describes columns by all rows, a few columns at a time."""
    found = []
    names = list(types)
    for start in range(0, len(names), _AT_ONCE):
        some = names[start : start + _AT_ONCE]
        if len(names) > _AT_ONCE:
            log_progress(f"looking at columns {start + 1} to {start + len(some)} of {len(names)}")
        aggregates = [
            one.alias(f"{place} {name}")
            for place, column in enumerate(some)
            for name, one in _aggregates(column, types[column]).items()
        ]
        counted = rows.agg(*aggregates).first()
        assert counted is not None
        values = counted.asDict()
        for place, column in enumerate(some):
            prefix = f"{place} "
            its = {n.removeprefix(prefix): v for n, v in values.items() if n.startswith(prefix)}
            found.append(ColumnProfile(column, types[column], **its))
    return found


def _aggregates(column: str, kind: str) -> dict[str, Column]:
    raw = F.col(quoted(column))
    text, number = known_text(column), known_number(column)
    if kind in _TIMES:
        return {"filled": F.count(raw), "distinct": F.approx_count_distinct(raw, 0.02)}
    if kind == "boolean":
        return {
            "filled": F.count(raw),
            "distinct": F.approx_count_distinct(raw),
            "booleans": F.count(raw),
        }
    plain = text_values.from_text(raw.cast("string"), DoubleType(), {})
    assert plain is not None

    def fits(kind: Any) -> Column:
        value = text_values.from_text(text, kind, {})
        assert value is not None
        return F.count(value)

    return {
        "filled": F.count(raw),
        "missing_words": F.count(raw) - F.count(text),
        "distinct": F.approx_count_distinct(text, 0.02),
        "whole": fits(LongType()),
        "leading_zeros": F.count(F.when(text.rlike(_LEADING_ZERO), 1)),
        "numbers": F.count(number),
        "plain_numbers": F.count(F.when(plain == number, 1)),
        "dates": fits(DateType()),
        "times": fits(TimestampType()),
        "booleans": fits(BooleanType()),
        "longest": F.coalesce(F.max(F.length(text)), F.lit(0)),
        "lowest": F.min(number),
        "quantiles": F.percentile_approx(number, list(_QUANTILES), 1_000),
        "highest": F.max(number),
        "odd": F.substring(F.min(F.when(number.isNull(), text)), 1, 60),
    }


def label_counts(rows: DataFrame, label: str) -> dict[str, int]:
    """Returns text -> number of rows, without missing ones, the most frequent first."""
    counts = rows.groupBy(known_text(label).alias("value")).count()
    some = counts.where(F.col("value").isNotNull()).orderBy(F.desc("count"), "value")
    return {row["value"]: row["count"] for row in some.limit(_MOST_LABELS).collect()}


def unique_columns(rows: DataFrame, profiles: Sequence[ColumnProfile]) -> list[str]:
    """Returns columns of text or whole numbers with another value in each row."""
    count = rows.count()
    near = [
        one.column
        for one in profiles
        if one.known == count
        and one.distinct > 0.9 * count
        and one.longest <= 100
        and (one.type == "string" or one.whole == count)
    ]
    return [
        column
        for column in near[:10]
        if rows.select(known_text(column)).distinct().count() == count
    ]
