"""Lines of text as rows: which of them are text at all.

A connector for text returns the declared columns, LINE (where a line is a whole record), REASON
(null: the row is readable) and RECORD (the text of a row that is not).
"""

from __future__ import annotations

from collections.abc import Iterable

from pyspark.sql import Column, DataFrame, DataFrameReader
from pyspark.sql import functions as F  # noqa: N812

from spark_io.sources.column_names import LINE, REASON, RECORD, quoted

UNPARSEABLE = "unparseable"  # does not fit the columns
TRAILING_TEXT = "trailing_text"  # something behind the JSON object
NOT_UTF8 = "not_utf8"
# Of frames in between. A source's column cannot be named like that: names are in its own struct.
PARSED, RAW = "_parsed", "_raw"
# Spark's column for the text of a row that it could not parse, beside those of the source: a text
# that nobody chooses for a name.
CORRUPT = "the record, if Spark could not parse it"


def read_lines(
    reader: DataFrameReader, paths: list[str], folder_columns: Iterable[str] = ()
) -> DataFrame:
    """Returns every line of the files that is not blank, as LINE.

    Args:
      reader: Its option basePath adds the columns that are in the names of folders.
      paths: Paths, as Spark takes them.
      folder_columns: Those of them that are wanted, as strings.
    """
    lines = reader.text(paths).select(F.col("value").alias(LINE), *strings(folder_columns))
    return lines.where(F.trim(F.col(LINE)) != "")


def strings(columns: Iterable[str]) -> list[Column]:
    """Returns columns as strings, each under its name."""
    return [F.col(quoted(column)).cast("string").alias(column) for column in columns]


def with_reasons(
    columns: list[Column], reason: Column, others: list[Column], rows: DataFrame
) -> DataFrame:
    """Rows with REASON and RECORD.

    Text that is not UTF-8 is refused whatever the parser made of it: parsers put a replacement
    character where they could not read, unseen. Its record is the bytes as ISO-8859-1, which
    loses none.

    Args:
      columns: the declared ones.
      reason: null, or why a row is refused that is UTF-8.
      others: columns that are kept beside them.
      rows: with LINE.
    """
    line = F.col(LINE)
    # On Spark 4 by spark.sql.legacy.codingErrorAction, see session.py.
    is_text = F.decode(line.cast("binary"), "UTF-8") == line
    reason = F.when(~is_text, NOT_UTF8).otherwise(reason)
    text = F.when(is_text, line).otherwise(F.decode(line.cast("binary"), "ISO-8859-1"))
    with_reason = rows.select(*columns, reason.alias(REASON), text.alias(LINE), *others)
    record = F.when(F.col(REASON).isNotNull(), F.col(LINE))
    return with_reason.withColumn(RECORD, record)
