"""Names of the columns that SparkExampleGen reserves, and checks of a source's column names.

Spark ignores case in names, takes a dot as access to a struct's field, and quotes names with
backticks. That matters here and in calls of Spark's SQL; elsewhere a name is any text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

OUTCOME = "_outcome"  # null: an example; else rows.QUARANTINED or rows.DROPPED
REASON = "_reason"  # a reason code, snake_case
SOURCE = "_source"  # null: the primary source
RECORD = "_record"  # the row as it was read, for repair and replay
RESERVED = (OUTCOME, REASON, SOURCE, RECORD)

# The text that a row of JSON files or Kafka was parsed from. If the ETL keeps it, a rejected row
# is stored with exactly this text. It never becomes a feature.
LINE = "_line"

KAFKA_COLUMNS = ("kafka_partition", "kafka_offset", "kafka_timestamp")


def quoted(column: str) -> str:
    """Returns a name quoted for Spark's SQL."""
    return f"`{column.replace('`', '``')}`"


def ddl(columns: Mapping[str, str]) -> str:
    """Returns columns (name -> Spark SQL type) as a schema in Spark's SQL."""
    return ", ".join(f"{quoted(column)} {kind}" for column, kind in columns.items())


def reserved_in(columns: Iterable[str], also: Iterable[str] = ()) -> str | None:
    """Returns an error text if a column of a source has a reserved name, else None.

    Args:
      columns: Names of the source's columns.
      also: Further reserved names, beside those of every source.
    """
    reserved = (*RESERVED, LINE, *also)
    for column in columns:
        if column.lower() in reserved:
            return (
                f"column '{column}' has a reserved name; reserved are {', '.join(reserved)}, in "
                "upper and lower case. Rename it in the data (or leave it out: name the other "
                "columns in `columns`)"
            )
    return None


def same_but_for_case(columns: Iterable[str]) -> str | None:
    """Returns an error text if two columns differ only in case, else None."""
    seen: dict[str, str] = {}
    for column in columns:
        other = seen.setdefault(column.lower(), column)
        if other != column:
            return (
                f"columns '{other}' and '{column}' differ only in upper and lower case, which "
                "Spark does not tell apart; rename one of them"
            )
    return None
