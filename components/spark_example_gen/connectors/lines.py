"""Lines of text as rows: which of them are text at all.

A connector for text returns the declared columns, LINE (where a line is a whole record), REASON
(null: the row is readable) and RECORD (the text of a row that is not).
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from components.spark_example_gen.rows import LINE, REASON, RECORD

UNPARSEABLE = "unparseable"  # does not fit the columns
TRAILING_TEXT = "trailing_text"  # something behind the JSON object
NOT_UTF8 = "not_utf8"
CORRUPT = "_corrupt_record"  # Spark's column for the text of a row that it could not parse


def read_lines(spark: SparkSession, uris: list[str]) -> DataFrame:
    """Every line of the files that is not blank, as LINE."""
    lines = spark.read.text(uris).select(F.col("value").alias(LINE))
    return lines.where(F.trim(F.col(LINE)) != "")


def judged(
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
