"""Reads lines of text, and rejects those that are not UTF-8.

A connector for text returns the declared columns, LINE (if a line is a whole record), REASON (null
for a readable row) and RECORD (the text of a rejected row).
"""

from __future__ import annotations

from collections.abc import Iterable

from pyspark.sql import Column, DataFrame, DataFrameReader
from pyspark.sql import functions as F  # noqa: N812

from spark_io.sources.column_names import LINE, REASON, RECORD, quoted

UNPARSEABLE = "unparseable"  # does not fit the columns
TRAILING_TEXT = "trailing_text"  # text follows the JSON object
NOT_UTF8 = "not_utf8"
# Columns of intermediate frames. Columns of the source are in a struct, so no name clashes.
PARSED, RAW = "_parsed", "_raw"
# Spark's column for text that it could not parse, under a name that no source uses.
CORRUPT = "the record, if Spark could not parse it"


def read_lines(
    reader: DataFrameReader, paths: list[str], folder_columns: Iterable[str] = ()
) -> DataFrame:
    """Returns every line of the files that is not blank, as LINE.

    Args:
      reader: Spark's reader; its option basePath adds the columns in folder names.
      paths: Paths, as Spark takes them.
      folder_columns: Columns in folder names to return, as strings.
    """
    lines = reader.text(paths).select(F.col("value").alias(LINE), *strings(folder_columns))
    return lines.where(F.trim(F.col(LINE)) != "")


def strings(columns: Iterable[str]) -> list[Column]:
    """Returns columns as strings, each under its name."""
    return [F.col(quoted(column)).cast("string").alias(column) for column in columns]


def with_reasons(
    columns: list[Column], reason: Column, others: list[Column], rows: DataFrame
) -> DataFrame:
    """Returns rows with REASON and RECORD.

    Text that is not UTF-8 is always rejected, because parsers silently replace what they cannot
    decode. Its record is the bytes as ISO-8859-1, which loses none.

    Args:
      columns: Declared columns.
      reason: Reason code of a rejected row; null for a readable one.
      others: Further columns to keep.
      rows: Rows with the column LINE.
    """
    line = F.col(LINE)
    # Spark 4 needs spark.sql.legacy.codingErrorAction for this, see session.py.
    is_text = F.decode(line.cast("binary"), "UTF-8") == line
    reason = F.when(~is_text, NOT_UTF8).otherwise(reason)
    text = F.when(is_text, line).otherwise(F.decode(line.cast("binary"), "ISO-8859-1"))
    with_reason = rows.select(*columns, reason.alias(REASON), text.alias(LINE), *others)
    record = F.when(F.col(REASON).isNotNull(), F.col(LINE))
    return with_reason.withColumn(RECORD, record)
