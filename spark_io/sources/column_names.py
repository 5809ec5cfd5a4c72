"""Names of columns that SparkExampleGen itself uses, and what a source may call its own.

Spark compares names without regard to case, takes a dot for a field of a struct and backticks for
quotes. Only here, and where frames are handed to Spark's SQL, does that matter: everywhere else a
name is any text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

OUTCOME = "_outcome"  # null: an example; else rows.QUARANTINED or rows.DROPPED
REASON = "_reason"  # a reason code, snake_case
SOURCE = "_source"  # null: the primary source
RECORD = "_record"  # the row as it was read, for repair and replay
RESERVED = (OUTCOME, REASON, SOURCE, RECORD)

# In the frames of JSON files and of Kafka: the text a row was parsed from. An ETL that carries it
# along gets it into the quarantine as it is; it never becomes a feature.
LINE = "_line"

KAFKA_COLUMNS = ("kafka_partition", "kafka_offset", "kafka_timestamp")


def quoted(column: str) -> str:
    """Returns a name as Spark's SQL takes it."""
    return f"`{column.replace('`', '``')}`"


def ddl(columns: Mapping[str, str]) -> str:
    """Returns columns (name -> Spark SQL type) as a schema in Spark's SQL."""
    return ", ".join(f"{quoted(column)} {kind}" for column, kind in columns.items())


def reserved_in(columns: Iterable[str], also: Iterable[str] = ()) -> str | None:
    """Returns what is wrong if a column of a source has a reserved name, else None.

    Args:
      columns: Names of the source's columns.
      also: Names that are reserved beside those of every source.
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
    """Returns what is wrong if Spark cannot tell two columns apart, else None."""
    seen: dict[str, str] = {}
    for column in columns:
        other = seen.setdefault(column.lower(), column)
        if other != column:
            return (
                f"columns '{other}' and '{column}' differ only in upper and lower case, which "
                "Spark does not tell apart; rename one of them"
            )
    return None
