"""A closed hour again, with what came late: the next version of its spans.

The versions before stay as they are; readers take the newest one (`v{VERSION}` in the path).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from components.errors import ComponentError
from pipeline.streaming_sections import Streaming
from streaming.closing import Publisher, joined
from streaming.layout import (
    CLICKS,
    LANDED,
    LATE,
    STREAMS,
    Layout,
    hour_name,
    read_json,
)
from streaming.tables import HourTables


def late_batches(layout: Layout, settings: Streaming, hour: int) -> list[int]:
    """Batches with something that came late for an hour: events of its own, or clicks behind it."""
    near = settings.click_hours(hour)
    return [
        manifest["batch"]
        for manifest in layout.manifests()
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
    """Makes the next version of a closed hour, and returns its marker.

    Args:
      spark: the session.
      hour: since 1970.
      settings: of the config.
      tables: of the application.

    Raises:
      ComponentError: the hour is not closed, or nothing came late for it since its last version.
    """
    layout = Layout(settings.folder)
    before = layout.closed_hours().get(hour)
    if before is None:
        raise ComponentError(f"{hour_name(hour)} is not closed: nothing can be late for it")
    late = late_batches(layout, settings, hour)
    if late == before.get("late_batches", []):
        raise ComponentError(f"nothing came late for {hour_name(hour)} since it was closed")
    for folder in layout.beyond(hour, before["version"]):
        shutil.rmtree(folder)  # of a replay that was killed: more may have come since

    def known(stream: str, hours: Iterable[int]) -> DataFrame | None:
        return _known(spark, layout, stream, hours)

    frames = joined(hour, known, settings)
    first = read_json(layout.marker(hour))
    late_rows = {stream: _late_rows(layout, stream, hour) for stream in STREAMS}
    read = {stream: first[stream]["landed"] + late_rows[stream] for stream in STREAMS}
    facts = {
        "watermark_ms": layout.watermark_ms(),
        "late_batches": late,
        "late_rows": sum(late_rows.values()),
    }
    publisher = Publisher(spark, settings, layout, tables)
    return publisher.publish(hour, before["version"] + 1, frames, read, facts)


def _late_rows(layout: Layout, stream: str, hour: int) -> int:
    return sum(
        entry["rows"]
        for manifest in layout.manifests()
        for entry in manifest["rows"]
        if (entry["outcome"], entry["stream"], entry["hour"]) == (LATE, stream, hour)
    )


def _known(
    spark: SparkSession, layout: Layout, stream: str, hours: Iterable[int]
) -> DataFrame | None:
    """Every event of these hours: of their spans, or as they have landed, and what came late."""
    frames, batches = [], [manifest["batch"] for manifest in layout.manifests()]
    for hour in hours:
        spans = layout.newest(stream, [hour])
        outcomes = (LATE,) if spans else (LATE, LANDED)
        folders = [layout.landed(n, stream, hour, o) for n in batches for o in outcomes]
        frames += [spark.read.parquet(str(path)) for path in (*spans, *folders) if path.exists()]
    if not frames:
        return None
    return reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), frames)
