"""JSON objects, one a row, to columns."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from components.spark_example_gen.connectors.lines import (
    CORRUPT,
    TRAILING_TEXT,
    UNPARSEABLE,
    judged,
)
from components.spark_example_gen.rows import LINE, quoted


def parse_json(
    lines: DataFrame, columns: Mapping[str, str], options: Mapping[str, str]
) -> DataFrame:
    """Parses LINE.

    Args:
      lines: rows with LINE and any other columns, which are kept.
      columns: column -> Spark SQL type.
      options: of Spark's JSON reader.

    Returns:
      See lines.py; also what `lines` has.
    """
    schema = ", ".join(f"{quoted(column)} {kind}" for column, kind in columns.items())
    settings = {**options, "mode": "PERMISSIVE", "columnNameOfCorruptRecord": CORRUPT}
    parsed = lines.withColumn(
        "_parsed", F.from_json(F.col(LINE), f"{schema}, {CORRUPT} string", settings)
    )
    # `null` is JSON, and parses to no object at all.
    unparseable = F.col("_parsed").isNull() | F.col(f"_parsed.{CORRUPT}").isNotNull()
    reason = F.when(unparseable, UNPARSEABLE).when(_has_more(settings), TRAILING_TEXT)
    others = [name for name in lines.columns if name not in (*columns, LINE)]
    return judged(
        [F.col(f"_parsed.{quoted(column)}").alias(column) for column in columns],
        reason,
        [F.col(quoted(name)) for name in others],
        parsed,
    )


def _has_more(settings: dict[str, str]) -> Column:
    """Whether text follows the object, which Spark ignores: `{"a": 1}{"a": 2}` is one row to it.

    A line with its only `}` at the end has none. Others are read once more, in an array with one
    object of ours behind: these are two, or the line is not one object.
    """
    line = F.col(LINE)
    plain = F.instr(line, "}") == F.length(F.rtrim(line))
    both = F.from_json(F.concat(F.lit("["), line, F.lit(",{}]")), "array<struct<_:int>>", settings)
    return ~plain & (F.coalesce(F.size(both), F.lit(-1)) != 2)
