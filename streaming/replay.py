"""Adds late events to a closed hour, as the next version of its spans.

Earlier versions do not change; readers use the newest one (`v{VERSION}` in the path).
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
    in_time_folders,
    landed_batches,
    late_folders,
    late_rows,
    replayed_rows,
)
from streaming.landed_columns import Events, read_events
from streaming.layout import CLICKS, LATE, STREAMS, Layout, hour_name
from streaming.tables import HourTables


def late_batches(
    manifests: Iterable[Mapping[str, Any]], settings: Streaming, hour: int
) -> list[int]:
    """Returns the batches with late events for an hour.

    These are events of the hour itself, or clicks in the attribution window after it.
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

    An hour that has only late events gets its first version from them.

    Args:
      spark: Spark session.
      hour: Hours since 1970.
      settings: Section `streaming` of the config.
      tables: Tables of the application.

    Raises:
      ComponentError: The hour is open, or has no late events since its last version.
    """
    check_columns(settings)
    layout = Layout(settings.folder)
    manifests, closed = layout.manifests(), layout.closed_hours()
    landed = landed_batches(manifests)
    before, late = closed.get(hour), late_batches(manifests, settings, hour)
    if before is None and any(landed.rows(stream, hour) for stream in STREAMS):
        raise ComponentError(
            f"expected a closed hour. Received: {hour_name(hour)}, which is open. It is closed "
            "once the watermark has passed it, or by: python -m streaming ingest --finish"
        )
    if before is None and not any(late_rows(manifests, hour).values()):
        raise ComponentError(
            f"expected an hour with events. Received: {hour_name(hour)}, which has none; for the "
            "hours see: python -m streaming status"
        )
    done = set((before or {}).get("late_batches", ()))
    if before is not None and done.issuperset(late):
        raise ComponentError(
            f"expected an hour with late events. Received: {hour_name(hour)}, whose newest version "
            "has all of them; no replay is needed"
        )

    new = [manifest for manifest in manifests if manifest["batch"] not in done]

    def known(stream: str, wanted: Iterable[int]) -> Events:
        hours = [*wanted]
        others = [other for other in hours if other != hour]
        folders = in_time_folders(layout, landed, closed, stream, hours)
        folders += late_folders(layout, manifests, stream, others)
        folders += late_folders(layout, new, stream, [hour])  # the span has the earlier ones
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
    """Returns the number of in-time events in the first version of an hour."""
    if marker is None:
        return 0
    first = layout.first_marker(marker)
    return int(first[stream]["landed"]) - replayed_rows(manifests, first)[stream]
