"""Closes an hour: removes duplicates, attributes clicks, publishes spans, and writes the marker.

The result depends only on landed events, which do not change any more. After a crash, a half-closed
hour is therefore closed again with the same result.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from base.atomic_files import write_json
from features.attribution import CLICK_MS, first_of_each, with_first_click
from features.history import PAST
from pipeline.streaming_sections import Streaming
from spark_io.sources.column_names import REASON, quoted
from streaming.column_names import declared
from streaming.hour_events import LandedBatches, in_time_folders, remove_landed
from streaming.landed_columns import Events, read_events
from streaming.layout import CLICKS, IMPRESSIONS, STREAMS, Layout
from streaming.tables import HourTables, read_parquet, write_table
from streaming.watermark import HOUR_MS, first_open_hour

ReadHours = Callable[[str, Iterable[int]], Events]


def due(
    landed: LandedBatches, closed: Collection[int], watermark_ms: int | None, settings: Streaming
) -> list[int]:
    """Returns the hours to close, oldest first.

    An hour with a marker is closed, whatever the settings are. An hour without one is due once the
    watermark has passed its end and the attribution window after it.
    """
    first_open = first_open_hour(watermark_ms, settings.attribution_ms)
    if first_open is None:
        return []
    return [hour for hour in landed.hours() if hour < first_open and hour not in closed]


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
      landed: Batches by stream and hour, including the clicks of later hours.
      closed: Hour -> its newest marker.
      watermark_ms: Watermark that has passed the hour, in epoch milliseconds.
      settings: Section `streaming` of the config.
      layout: Paths below the streaming folder.
      tables: Tables of the application.
    """

    def known(stream: str, hours: Iterable[int]) -> Events:
        folders = in_time_folders(layout, landed, closed, stream, hours)
        return read_events(spark, folders, settings, stream)

    publisher = Publisher(spark, settings, layout, tables)
    read = {stream: landed.rows(stream, hour) for stream in STREAMS}
    marker = publisher.publish(
        hour, 1, joined(hour, known, settings), read, {"watermark_ms": watermark_ms}
    )
    remove_landed(marker, landed, layout)
    return marker


def joined(hour: int, known: ReadHours, settings: Streaming) -> dict[str, Events]:
    """Returns stream -> the rows of an hour's span: each event once, impressions with clicks.

    Args:
      hour: Hours since 1970.
      known: Function (stream, hours) -> the events of these hours.
      settings: Section `streaming` of the config.
    """
    found = {stream: known(stream, [hour]) for stream in STREAMS}
    rows = {stream: unique(found[stream].rows, settings, stream) for stream in STREAMS}
    shown = rows[IMPRESSIONS]
    if shown is not None:
        near = known(CLICKS, settings.click_hours(hour))
        rows[IMPRESSIONS] = attributed(shown, near.rows, settings)
    return {stream: Events(rows[stream], found[stream].unfit) for stream in STREAMS}


@dataclasses.dataclass(frozen=True)
class Publisher:
    """Writes a version of an hour: the spans, the application's tables, and last the marker.

    Attributes:
      spark: Spark session.
      settings: Section `streaming` of the config.
      layout: Paths below the streaming folder.
      tables: Tables of the application.
    """

    spark: SparkSession
    settings: Streaming
    layout: Layout
    tables: HourTables | None

    def publish(
        self,
        hour: int,
        version: int,
        events: Mapping[str, Events],
        read: Mapping[str, int],
        facts: Mapping[str, Any],
        unfit_before: Mapping[str, int] | None = None,
    ) -> dict[str, Any]:
        """Writes a version, and returns its marker.

        Args:
          hour: Hours since 1970.
          version: Number of the version. Leftovers of a killed process are removed first.
          events: Stream -> its events.
          read: Stream -> number of events before duplicates were removed.
          facts: More entries for the marker.
          unfit_before: Stream -> number of unfit events that earlier versions left out.
        """
        started = dt.datetime.now(dt.timezone.utc)
        for folder in self.layout.unmarked(hour, version - 1):
            shutil.rmtree(folder)  # settings may have changed since
        counts = {}
        for stream, one in events.items():
            rows = self._publish(one.rows, stream, hour, version, read[stream])
            unfit = self._publish_unfit(one.unfit, stream, hour, version)
            unfit += (unfit_before or {}).get(stream, 0)
            duplicates = read[stream] - rows["rows"] - unfit
            counts[stream] = {
                "landed": read[stream],
                **rows,
                "duplicates": duplicates,
                "unfit": unfit,
            }
        if self.tables is not None and counts[IMPRESSIONS]["rows"]:
            self._publish_tables(hour, version, counts[IMPRESSIONS]["rows"], self.tables)
        marker = {
            "hour": hour,
            "version": version,
            "start_ms": hour * HOUR_MS,
            **counts,
            **facts,
            "attribution_ms": self.settings.attribution_ms,
            "closed_at": started.isoformat(timespec="seconds"),
            "seconds": round((dt.datetime.now(dt.timezone.utc) - started).total_seconds(), 2),
        }
        write_json(self.layout.marker(hour, version), marker, durable=True)
        return marker

    def _publish_unfit(self, unfit: DataFrame | None, stream: str, hour: int, version: int) -> int:
        """Writes the events that do not fit the declared types, and returns their number."""
        if unfit is None or (rows := unfit.count()) == 0:
            return 0
        write_table(unfit, self.layout.unfit(stream, hour, version), rows, REASON)
        return rows

    def _publish(
        self, frame: DataFrame | None, stream: str, hour: int, version: int, read: int
    ) -> dict[str, Any]:
        """Writes a span, and returns its files and number of rows, and of clicked impressions."""
        empty = {"rows": 0, "files": [], **({"clicked": 0} if stream == IMPRESSIONS else {})}
        if frame is None:
            return empty
        target = self.layout.span(stream, hour, version)
        write_table(frame, target, read, quoted(declared(self.settings, stream).time))
        written = read_parquet(self.spark, target)
        counts = {"rows": F.count(F.lit(1))}
        if stream == IMPRESSIONS:
            counts["clicked"] = F.count(CLICK_MS)
        row = written.agg(*[count.alias(name) for name, count in counts.items()]).first()
        assert row is not None
        if row["rows"] == 0:  # every event was unfit
            shutil.rmtree(target)
            return empty
        return {**row.asDict(), "files": sorted(path.name for path in target.iterdir())}

    def _publish_tables(self, hour: int, version: int, rows: int, tables: HourTables) -> None:
        """Writes what later hours need of the hour, computed from its span."""
        impressions = read_parquet(self.spark, self.layout.span(IMPRESSIONS, hour, version))
        past = tables.past(self.spark, impressions, hour, tables.read(self.spark).frames)
        write_table(past, self.layout.span(PAST, hour, version), rows, "entity", "key", "tile")
        self.spark.catalog.clearCache()  # holds only the input of this table


def open_hours(
    spark: SparkSession,
    landed: LandedBatches,
    closed: Mapping[int, Any],
    settings: Streaming,
    layout: Layout,
) -> dict[int, DataFrame]:
    """Returns open hour -> its impressions so far, with clicks, as closing would publish them."""

    def known(stream: str, hours: Iterable[int]) -> Events:
        folders = in_time_folders(layout, landed, closed, stream, hours)
        return read_events(spark, folders, settings, stream)

    hours = [hour for hour in landed.hours() if hour not in closed]
    found = {hour: joined(hour, known, settings)[IMPRESSIONS].rows for hour in hours}
    return {hour: shown for hour, shown in found.items() if shown is not None}


def attributed(impressions: DataFrame, clicks: DataFrame | None, settings: Streaming) -> DataFrame:
    """Adds CLICK_MS, the first click of each impression within the attribution window."""
    if clicks is None:
        return impressions.withColumn(CLICK_MS, F.lit(None).cast("bigint"))
    shown, clicked = settings.impressions, settings.clicks
    known = clicks.select(
        F.col(quoted(clicked.of)).alias(shown.id), F.col(quoted(clicked.time)).alias(CLICK_MS)
    )
    return with_first_click(impressions, known, shown.id, shown.time, settings.attribution_ms)


def unique(frame: DataFrame | None, settings: Streaming, stream: str) -> DataFrame | None:
    """Returns the first row of each id."""
    if frame is None:
        return None
    events = declared(settings, stream)
    return first_of_each(frame, events.id, events.time)[0]
