"""Closes an hour: removes duplicates, publishes spans, and writes the marker.

The result depends only on landed events, which do not change any more. After a crash, a half-closed
hour is therefore closed again with the same result.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from base.durations import HOUR_MS
from pipeline.streaming_sections import Streaming
from spark_io.sources.column_names import quoted
from streaming.hour_events import LandedBatches, in_time_folders, remove_landed
from streaming.hour_rows import HourRows, ReadHours, closed_after
from streaming.indexes import complete_ms
from streaming.landed_columns import Events, read_events
from streaming.layout import MAKES_AGAIN, PREVIEW, Layout
from streaming.publishing import Publisher
from streaming.tables import HourTables, write_table
from streaming.watermark import first_open_hour, labels_until


def due(landed: LandedBatches, closed: Collection[int], watermark_ms: int | None) -> list[int]:
    """Returns the hours to close, oldest first.

    An hour with a marker is closed, whatever the settings are. An hour without one is due once the
    watermark has passed its end.
    """
    first_open = first_open_hour(watermark_ms)
    if first_open is None:
        return []
    return [hour for hour in landed.hours() if hour < first_open and hour not in closed]


def in_time(
    spark: SparkSession,
    landed: LandedBatches,
    closed: Mapping[int, Any],
    settings: Streaming,
    layout: Layout,
) -> ReadHours:
    """Returns a function that reads the events of closed and open hours; late ones are not there.

    Args:
      spark: Spark session.
      landed: Batches by stream and hour.
      closed: Hour -> its newest marker.
      settings: Section `streaming` of the config.
      layout: Paths below the streaming folder.
    """

    def known(stream: str, hours: Iterable[int]) -> Events:
        folders = in_time_folders(layout, landed, closed, stream, hours)
        return read_events(spark, folders, settings, stream)

    return known


def close(
    spark: SparkSession,
    hour: int,
    landed: LandedBatches,
    closed: Mapping[int, Any],
    watermark_ms: int,
    settings: Streaming,
    layout: Layout,
    tables: HourTables | None = None,
) -> dict[str, Any]:
    """Publishes an hour's spans and its marker, and returns the marker.

    Args:
      spark: Spark session.
      hour: Hours since 1970.
      landed: Batches by stream and hour.
      closed: Hour -> its newest marker.
      watermark_ms: Watermark that has passed the hour, in epoch milliseconds.
      settings: Section `streaming` of the config.
      layout: Paths below the streaming folder.
      tables: Tables of the application.
    """
    rows = HourRows(spark, settings, in_time(spark, landed, closed, settings, layout))
    events = {stream: rows.unique(stream, [hour]) for stream in settings.streams}
    read = {stream: landed.rows(stream, hour) for stream in settings.streams}
    publisher = Publisher(rows, layout, tables)
    # Usually none, since hours are closed in their order; but its first event may come years late.
    later = closed_after(hour, closed, settings)
    new = {stream: one.rows for stream, one in events.items()}
    again = sorted(rows.dependent(new, later)) if any(later.values()) else []
    facts = {"watermark_ms": watermark_ms, MAKES_AGAIN: again}
    marker = publisher.publish(hour, 1, events, read, facts)
    remove_landed(marker, landed, layout)
    return marker


def publish_previews(
    rows: HourRows,
    landed: LandedBatches,
    closed: Collection[int],
    watermark_ms: int | None,
    layout: Layout,
) -> dict[str, int]:
    """Publishes the outcomes so far of hours that are open, as their version 0.

    The labels of an hour are complete before the hour of their last outcomes is, if outcomes have
    half an hour. A run need not wait for the other half.

    Args:
      rows: Reader of the hours' events.
      landed: Batches by stream and hour.
      closed: Closed hours.
      watermark_ms: Watermark in epoch milliseconds.
      layout: Paths below the streaming folder.

    Returns:
      Stream of outcomes -> time up to which its outcomes are published.
    """
    found: dict[str, int] = {}
    for stream, outcome in rows.settings.outcomes.items():
        if watermark_ms is None or outcome.waits_ms % HOUR_MS == 0:
            continue
        until = labels_until(watermark_ms, outcome.waits_ms)
        hour = until // HOUR_MS
        if hour in closed:
            continue
        published = complete_ms(layout, stream)
        if published is not None and published >= until:
            continue  # runs may have read it, so what comes now is counted when the hour closes
        target = layout.span(stream, hour, PREVIEW)
        shutil.rmtree(target, ignore_errors=True)  # of another `within`, or of a killed process
        if landed.rows(stream, hour):
            so_far = rows.unique(stream, [hour]).rows
            time = quoted(rows.settings.streams[stream].time)
            if so_far is not None:
                before = so_far.where(F.col(time) < until)
                write_table(before, target, landed.rows(stream, hour), time)
        found[stream] = until
    return found


def open_hours(
    rows: HourRows, landed: LandedBatches, closed: Collection[int]
) -> dict[int, dict[str, DataFrame]]:
    """Returns open hour -> what an application needs of it so far; see HourRows.inputs."""
    found = {}
    for hour in (hour for hour in landed.hours() if hour not in closed):
        own = {stream: rows.unique(stream, [hour]).rows for stream in rows.settings.streams}
        found[hour] = rows.inputs(hour, own, rows.leads_to(hour, own))
    return found


def undeclared(
    landed: LandedBatches, closed: Collection[int], settings: Streaming
) -> dict[str, int]:
    """Returns stream -> landed events of open hours, for streams that are no longer declared."""
    found: dict[str, int] = {}
    for stream, hour in landed.batches:
        if stream not in settings.streams and hour not in closed:
            found[stream] = found.get(stream, 0) + landed.rows(stream, hour)
    return found
