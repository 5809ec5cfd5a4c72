"""Allowed column names of a stream, and their names in the landing."""

from __future__ import annotations

from collections.abc import Mapping

from base.errors import ComponentError
from features.outcomes import EVENT_MS, VERDICT
from pipeline.streaming_sections import Streaming
from spark_io.connectors.lines import CORRUPT
from spark_io.sources.column_names import LINE, RESERVED

PARTITION, OFFSET = "_partition", "_offset"  # position of a line in Kafka
TIME = "_time_ms"
BEFORE = "_before"  # earlier reason and record of an event that is parsed again
STREAM, OUTCOME, HOUR = "stream", "outcome", "hour"  # the folders of a batch
# Spark could not tell an event's columns from these in one frame.
_JOINED = ("_event", "_at", "_first", "_order", "_hour")  # in outcomes.py and hour_rows.py
_OURS = (PARTITION, OFFSET, TIME, BEFORE, "_parsed", "_number", VERDICT, EVENT_MS, *_JOINED)
RESERVED_NAMES = (*RESERVED, LINE, CORRUPT, *_OURS)
_FOLDERS = (STREAM, OUTCOME, HOUR)
_SYNTAX = ".`*"


def check_columns(settings: Streaming) -> None:
    """Checks the declared columns of all streams, before anything is read.

    Raises:
      ComponentError: A column has a reserved name or one that Spark parses as syntax, or two names
        differ only in case.
    """
    for stream, events in settings.streams.items():
        section, seen = f"streaming.streams.{stream}.columns", dict[str, str]()
        for column in events.columns:
            if not column.strip() or any(sign in column for sign in _SYNTAX):
                raise ComponentError(
                    f"{section}: expected names without dots, backticks and asterisks, which "
                    f"Spark reads as syntax. Received: '{column}'. Rename the field where the "
                    "events are made, or leave the column out"
                )
            if column.lower() in RESERVED_NAMES:
                raise ComponentError(
                    f"{section}: expected names other than the reserved "
                    f"{', '.join(RESERVED_NAMES)} (in any case). Received: '{column}'. Rename the "
                    "field where the events are made, or leave the column out"
                )
            other = seen.setdefault(column.lower(), column)
            if other != column:
                raise ComponentError(
                    f"{section}: expected names that differ in more than case, which Spark "
                    f"ignores. Received: '{other}' and '{column}'. Leave one of them out"
                )


def landed_names(settings: Streaming, stream: str) -> dict[str, str]:
    """Returns column -> its name in the landing, where all streams share one table.

    A column keeps its name unless a folder has that name (`hour`), or another stream has such a
    column of another type. Then it is called `_STREAM_COLUMN`.
    """
    others: dict[str, set[str]] = {}
    for name, events in settings.streams.items():
        if name != stream:
            for column, kind in events.columns.items():
                others.setdefault(column.lower(), set()).add(kind)
    return {
        column: qualified(stream, column)
        if column.lower() in _FOLDERS or others.get(column.lower(), {kind}) != {kind}
        else column
        for column, kind in settings.streams[stream].columns.items()
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
