"""JSON objects, one a row, to columns; what does not fit them is kept as it is."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from components.spark_example_gen.connectors.found import CORRUPT
from components.spark_example_gen.rows import LINE


def parse_json(
    lines: DataFrame, columns: Mapping[str, str], options: Mapping[str, str]
) -> DataFrame:
    """Parses LINE.

    Args:
      lines: rows with LINE and any other columns, which are kept.
      columns: column -> Spark SQL type.
      options: of Spark's JSON reader.

    Returns:
      The declared columns, CORRUPT (the text of a row that does not fit them), and what `lines`
      has.
    """
    schema = ", ".join(f"`{column}` {kind}" for column, kind in columns.items())
    settings = {**options, "mode": "PERMISSIVE", "columnNameOfCorruptRecord": CORRUPT}
    parsed = lines.withColumn(
        "_parsed", F.from_json(F.col(LINE), f"{schema}, {CORRUPT} string", settings)
    )
    # `null` is JSON, and parses to no object at all.
    corrupt = F.when(F.col("_parsed").isNull(), F.col(LINE)).otherwise(F.col(f"_parsed.{CORRUPT}"))
    others = [F.col(f"`{column}`") for column in lines.columns if column not in columns]
    return parsed.select(
        *[F.col(f"_parsed.`{column}`").alias(column) for column in columns],
        corrupt.alias(CORRUPT),
        *others,
    )
