"""Allowed column names of a stream, and their names in the landing."""

from __future__ import annotations

from collections.abc import Mapping

from base.errors import ComponentError
from features.attribution import CLICK_MS
from pipeline.streaming_sections import EventStream, Streaming
from spark_io.connectors.lines import CORRUPT
from spark_io.sources.column_names import LINE, RESERVED
from streaming.layout import CLICKS, IMPRESSIONS, STREAMS

PARTITION, OFFSET = "_partition", "_offset"  # position of a line in Kafka
TIME = "_time_ms"
BEFORE = "_before"  # earlier reason and record of an event that is parsed again
STREAM, OUTCOME, HOUR = "stream", "outcome", "hour"  # the folders of a batch
# Spark could not tell an event's columns from these in one frame.
_OURS = (PARTITION, OFFSET, TIME, BEFORE, "_parsed", "_number")
RESERVED_NAMES = (*RESERVED, LINE, CORRUPT, *_OURS)
_FOLDERS = (STREAM, OUTCOME, HOUR)
_SYNTAX = ".`*"


def check_columns(settings: Streaming) -> None:
    """Checks the declared columns of both streams, before anything is read.

    Raises:
      ComponentError: A column has a reserved name or one that Spark parses as syntax, two names
        differ only in case, or `clicks.of` is not a column.
    """
    for stream in STREAMS:
        events = declared(settings, stream)
        reserved = (*RESERVED_NAMES, *((CLICK_MS,) if stream == IMPRESSIONS else ()))
        section, seen = f"streaming.{stream}.columns", dict[str, str]()
        for column in events.columns:
            if not column.strip() or any(sign in column for sign in _SYNTAX):
                raise ComponentError(
                    f"{section}: expected names without dots, backticks and asterisks, which "
                    f"Spark reads as syntax. Received: '{column}'. Rename the field where the "
                    "events are made, or leave the column out"
                )
            if column.lower() in reserved:
                raise ComponentError(
                    f"{section}: expected names other than the reserved {', '.join(reserved)} "
                    f"(in any case). Received: '{column}'. Rename the field where the events are "
                    "made, or leave the column out"
                )
            other = seen.setdefault(column.lower(), column)
            if other != column:
                raise ComponentError(
                    f"{section}: expected names that differ in more than case, which Spark "
                    f"ignores. Received: '{other}' and '{column}'. Leave one of them out"
                )
    if settings.clicks.of not in settings.clicks.columns:
        raise ComponentError(
            f"streaming.clicks.of: expected one of the columns {', '.join(settings.clicks.columns)}"
            f". Received: '{settings.clicks.of}'"
        )


def declared(settings: Streaming, stream: str) -> EventStream:
    """Returns the config's section of a stream."""
    return settings.clicks if stream == CLICKS else settings.impressions


def landed_names(settings: Streaming, stream: str) -> dict[str, str]:
    """Returns column -> its name in the landing, where both streams share one table.

    A column keeps its name unless a folder has that name (`hour`), or the other stream has such a
    column of another type. Then it is called `_STREAM_COLUMN`.
    """
    (other,) = (declared(settings, name).columns for name in STREAMS if name != stream)
    others = {column.lower(): kind for column, kind in other.items()}
    own = declared(settings, stream).columns
    return {
        column: qualified(stream, column)
        if column.lower() in _FOLDERS or others.get(column.lower(), kind) != kind
        else column
        for column, kind in own.items()
    }


def qualified(stream: str, column: str) -> str:
    """Returns the landing name of a column whose own name is taken."""
    return f"_{stream}_{column}"


def found_in(landed: Mapping[str, object], stream: str, column: str) -> str | None:
    """Returns a column's name in a landed table or a span; None if the table lacks it.

    Args:
      landed: Columns of the table by lower-case name.
      stream: Stream of the column.
      column: Name of the column in the config.
    """
    names = (qualified(stream, column).lower(), column.lower())
    return next((name for name in names if name in landed), None)
