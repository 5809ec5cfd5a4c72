"""The contract between an ETL function and SparkExampleGen.

An ETL is `build(spark, sources, context) -> DataFrame`, with one column per feature and one row per
example. It also returns the rows that should not become examples, each with a reason, so that the
component can account for every row.

    valid, rejected = divide(readings, reason)
    return features(valid).unionByName(quarantined(rejected), allowMissingColumns=True)
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
from spark_io.sources.outcomes import Outcome

QUARANTINED = "quarantined"
DROPPED = "dropped"

# Options of to_json, which by default leaves out nulls and microseconds.
WHOLE_VALUES = {
    "ignoreNullFields": "false",
    "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX",
    "timestampNTZFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS",
}


@dataclasses.dataclass(frozen=True)
class EtlContext:
    """The facts about a run that an ETL may use.

    Attributes:
      parameters: Parameters from the pipeline's configuration.
      spans: Spans of the primary source that are read, oldest first.
      begin_ms: Start of the first of these spans, in epoch milliseconds; None without dates.
      outcomes: Source of outcomes -> which events they belong to, and how much later they may come.
      complete_ms: Source -> epoch milliseconds up to which its rows are there. An event whose
        outcomes may come after that of their source has a label that is not mature.
      labelled: Whether the rows become examples to learn from. False in batch scoring, where the
        columns of the label may be missing: an ETL must then neither compute the label nor reject
        a row for it.
    """

    parameters: Mapping[str, Any]
    spans: tuple[int, ...]
    begin_ms: int | None = None
    outcomes: Mapping[str, Outcome] = dataclasses.field(default_factory=dict)
    complete_ms: Mapping[str, int] = dataclasses.field(default_factory=dict)
    labelled: bool = True

    def outcome(self, source: str) -> Outcome:
        """Returns what a source's rows are outcomes of.

        Raises:
          ComponentError: The config does not say so.
        """
        if source not in self.outcomes:
            raise ComponentError(
                f"source '{source}': the ETL reads outcomes from it. Say which events they belong "
                "to: outcome: {of: SOURCE, by: COLUMN, within: 30m}"
            )
        return self.outcomes[source]


def divide(rows: DataFrame, reason: Column) -> tuple[DataFrame, DataFrame]:
    """Splits rows into those with a null `reason`, and the others with it in REASON."""
    judged = rows.withColumn(REASON, reason)
    return judged.where(F.col(REASON).isNull()).drop(REASON), judged.where(
        F.col(REASON).isNotNull()
    )


def quarantined(rejected: DataFrame, source: str | None = None) -> DataFrame:
    """Returns rows for the quarantine, each with its reason and its record as it was read.

    Args:
      rejected: Rows with a column REASON. The record is LINE if they have it, or all columns as
        JSON.
      source: Source of the rows; None for the primary one.
    """
    columns = [name for name in rejected.columns if name not in (*RESERVED, LINE)]
    kept = F.to_json(F.struct(*[F.col(quoted(name)) for name in columns]), WHOLE_VALUES)
    if LINE in rejected.columns:
        kept = F.coalesce(F.col(LINE), kept)
    return rejected.select(
        F.lit(QUARANTINED).alias(OUTCOME),
        F.col(REASON),
        F.lit(source).cast("string").alias(SOURCE),
        kept.alias(RECORD),
    )


def dropped(rows: DataFrame, reason: str) -> DataFrame:
    """Marks rows of the primary source, such as duplicates, that are counted but not kept."""
    null = F.lit(None).cast("string")
    return rows.select(
        F.lit(DROPPED).alias(OUTCOME),
        F.lit(reason).alias(REASON),
        null.alias(SOURCE),
        null.alias(RECORD),
    )


def with_reserved_columns(rows: DataFrame) -> DataFrame:
    """Adds missing reserved columns as nulls to the result of an ETL, and removes LINE.

    Raises:
      ComponentError: Two columns have one name or differ only in upper and lower case, or a name
        differs from a reserved one only in case (`_Source`).
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
