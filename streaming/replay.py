"""An hour again, with what came late: the next version of its spans.

The versions before stay as they are; readers take the newest one (`v{VERSION}` in the path).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pyspark.sql import SparkSession

from base.errors import ComponentError
from pipeline.streaming_sections import Streaming
from streaming.closing import Publisher, joined
from streaming.column_names import check_columns
from streaming.hour_events import (
    came_late,
    in_time,
    landed_of,
    late_read,
    late_rows,
)
from streaming.landed_columns import Events, read_events
from streaming.layout import CLICKS, LATE, STREAMS, Layout, hour_name
from streaming.tables import HourTables


def late_batches(
    manifests: Iterable[Mapping[str, Any]], settings: Streaming, hour: int
) -> list[int]:
    """Returns the batches with something that came late for an hour.

    These are events of the hour itself, or clicks in the attribution window behind it.
    """
    near = settings.click_hours(hour)
    return [
        manifest["batch"]
        for manifest in manifests
        if any(
            entry["outcome"] == LATE
            and (entry["hour"] == hour or (entry["stream"] == CLICKS and entry["hour"] in near))
            for entry in manifest["rows"]
        )
    ]


def replay(
    spark: SparkSession,
    hour: int,
    settings: Streaming,
    tables: HourTables | None = None,
) -> dict[str, Any]:
    """Makes the next version of an hour, and returns its marker.

    An hour that has only late events has no version yet: its first one is made of them.

    Args:
      spark: The session.
      hour: Number since 1970.
      settings: Section `streaming` of the config.
      tables: Tables of the application.

    Raises:
      ComponentError: the hour is open, or nothing came late for it since its last version.
    """
    check_columns(settings)
    layout = Layout(settings.folder)
    manifests, closed = layout.manifests(), layout.closed_hours()
    landed = landed_of(manifests)
    before, late = closed.get(hour), late_batches(manifests, settings, hour)
    if before is None and any(landed.rows(stream, hour) for stream in STREAMS):
        raise ComponentError(
            f"{hour_name(hour)} is not closed: its events have not come late. It is closed once "
            "the watermark has passed it, or by: python -m streaming ingest --finish"
        )
    if before is None and not any(late_rows(manifests, hour).values()):
        raise ComponentError(f"nothing has come of {hour_name(hour)}: it is not closed, and empty")
    done = set((before or {}).get("late_batches", ()))
    if before is not None and done.issuperset(late):
        raise ComponentError(f"nothing came late for {hour_name(hour)} since it was closed")

    new = [manifest for manifest in manifests if manifest["batch"] not in done]

    def known(stream: str, wanted: Iterable[int]) -> Events:
        hours = [*wanted]
        others = [other for other in hours if other != hour]
        folders = in_time(layout, landed, closed, stream, hours)
        folders += came_late(layout, manifests, stream, others)
        folders += came_late(layout, new, stream, [hour])  # the others are in the span
        return read_events(spark, folders, settings, stream)

    came = late_rows(manifests, hour)
    read = {s: _in_time_rows(layout, manifests, before, s) + came[s] for s in STREAMS}
    facts = {
        "watermark_ms": layout.watermark_ms(),
        "late_batches": sorted({*late, *done}),
        "late_rows": sum(came.values()),
    }
    version = before["version"] + 1 if before else 1
    unfit = {stream: before[stream].get("unfit", 0) for stream in STREAMS} if before else None
    publisher = Publisher(spark, settings, layout, tables)
    return publisher.publish(hour, version, joined(hour, known, settings), read, facts, unfit)


def _in_time_rows(
    layout: Layout,
    manifests: Sequence[Mapping[str, Any]],
    marker: dict[str, Any] | None,
    stream: str,
) -> int:
    """Returns the number of events that the first version of an hour was made of, late ones not."""
    if marker is None:
        return 0
    first = layout.first_marker(marker)
    return int(first[stream]["landed"]) - late_read(manifests, first)[stream]
