"""The contract between an ETL function and SparkExampleGen.

An ETL is `build(spark, sources, context) -> DataFrame`: a column for each feature, a row for each
example. A row that should not become an example is returned too, with the reason: that way the
component can prove that every row it read is accounted for.

    valid, refused = divide(readings, reason)
    return features(valid).unionByName(quarantined(refused, REASON), allowMissingColumns=True)
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812 - the name every Spark programmer knows

from base.errors import ComponentError
from spark_io.sources.column_names import (
    LINE,
    OUTCOME,
    REASON,
    RECORD,
    RESERVED,
    SOURCE,
    quoted,
    reserved_in,
    same_but_for_case,
)

QUARANTINED = "quarantined"
DROPPED = "dropped"

# For to_json: Spark leaves nulls out, and of times all but milliseconds.
WHOLE_VALUES = {
    "ignoreNullFields": "false",
    "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX",
    "timestampNTZFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS",
}


@dataclasses.dataclass(frozen=True)
class EtlContext:
    """What an ETL may know about the run.

    Attributes:
      parameters: from the pipeline's configuration.
      spans: the spans of the primary source that are read, oldest first.
    """

    parameters: Mapping[str, Any]
    spans: tuple[int, ...]


def divide(rows: DataFrame, reason: Column) -> tuple[DataFrame, DataFrame]:
    """Splits into rows where `reason` is null, and the others with the reason in REASON."""
    judged = rows.withColumn(REASON, reason)
    return judged.where(F.col(REASON).isNull()).drop(REASON), judged.where(
        F.col(REASON).isNotNull()
    )


def quarantined(refused: DataFrame, source: str | None = None) -> DataFrame:
    """Rows for the quarantine: each with the reason found in REASON, and the record as it was read.

    Args:
      refused: rows with a column REASON. Where they have LINE that is the record, else all columns
        as JSON.
      source: the source they are from; None for the primary one.
    """
    columns = [name for name in refused.columns if name not in (*RESERVED, LINE)]
    kept = F.to_json(F.struct(*[F.col(quoted(name)) for name in columns]), WHOLE_VALUES)
    if LINE in refused.columns:
        kept = F.coalesce(F.col(LINE), kept)
    return refused.select(
        F.lit(QUARANTINED).alias(OUTCOME),
        F.col(REASON),
        F.lit(source).cast("string").alias(SOURCE),
        kept.alias(RECORD),
    )


def dropped(rows: DataFrame, reason: str) -> DataFrame:
    """Rows of the primary source left out on purpose (duplicates): counted, not kept."""
    nothing = F.lit(None).cast("string")
    return rows.select(
        F.lit(DROPPED).alias(OUTCOME),
        F.lit(reason).alias(REASON),
        nothing.alias(SOURCE),
        nothing.alias(RECORD),
    )


def with_reserved_columns(rows: DataFrame) -> DataFrame:
    """Adds the reserved columns that an ETL did not return, as nulls, and takes LINE away.

    Raises:
      ComponentError: two columns have one name or differ only in upper and lower case, or a name
        is a reserved one in other letters (`_Source`).
    """
    columns = [name for name in rows.columns if name != LINE]
    others = [name for name in columns if name not in RESERVED]
    seen = Counter(columns)
    twice = [name for name in columns if seen[name] > 1]
    if twice:
        raise ComponentError(f"two columns are named '{twice[0]}'; rename one in the ETL")
    problem = reserved_in(others) or same_but_for_case(others)
    if problem:
        raise ComponentError(f"the ETL's result: {problem}")
    absent = [name for name in RESERVED if name not in columns]
    return rows.drop(LINE).withColumns({name: F.lit(None).cast("string") for name in absent})
