"""Writes the index of each table of spans, by which a reader tells empty hours from missing ones.

`spark_io/sources/span_index.py` says what an index is. The markers say which hours have rows. An
index is written after them, and again at each start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from base.atomic_files import write_json
from base.durations import HOUR_MS
from features.history_columns import PAST
from pipeline.streaming_sections import Streaming
from spark_io.sources.span_index import SpanIndex
from streaming.hour_events import rows_of
from streaming.layout import Layout
from streaming.watermark import first_open_hour


def indexed_hours(
    closed: Mapping[int, Mapping[str, Any]], settings: Streaming
) -> dict[str, frozenset[int]]:
    """Returns table -> the closed hours that must have files in it.

    If hours leave what later ones need, every closed hour must have left it, even one that was
    closed before the config said so: its features would otherwise count for nothing in silence.
    """
    found = {
        stream: frozenset(hour for hour, marker in closed.items() if rows_of(marker, stream))
        for stream in settings.streams
    }
    return {**found, PAST: frozenset(closed)} if settings.hour_tables else found


def write_indexes(
    layout: Layout,
    closed: Mapping[int, Mapping[str, Any]],
    watermark_ms: int | None,
    settings: Streaming,
    outcomes: Mapping[str, int] | None = None,
) -> None:
    """Writes the indexes of all tables, where they change.

    Args:
      layout: Paths below the streaming folder.
      closed: Hour -> its newest marker.
      watermark_ms: Time in epoch milliseconds before which every hour is closed; None if that is
        not known, and the indexes keep theirs.
      settings: Section `streaming` of the config.
      outcomes: Stream of outcomes -> later time up to which its outcomes are all published.
    """
    first_open = first_open_hour(watermark_ms)
    for table, hours in indexed_hours(closed, settings).items():
        path = layout.index(table)
        before = read_index(path) if path.exists() else None
        times: Iterable[int | None] = [
            None if first_open is None else first_open * HOUR_MS,
            (outcomes or {}).get(table),
            before.complete_ms if before is not None else None,  # it never moves back
        ]
        index = SpanIndex(max((t for t in times if t is not None), default=None), hours)
        if index != before:
            write_json(path, index.to_json(), durable=True)


def read_index(path: Path) -> SpanIndex:
    """Returns the contents of an index file."""
    return SpanIndex.of(path.read_bytes(), str(path))


def complete_ms(layout: Layout, table: str) -> int | None:
    """Returns the time up to which a table is complete; None before the first hour."""
    path = layout.index(table)
    return read_index(path).complete_ms if path.exists() else None
