"""An hour: duplicates out, clicks to their impressions, published; then its marker.

All of it follows from what has landed, which does not change any more: an hour that was closed
half-way before a crash is closed the same way again.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import shutil
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from pipeline.click_log import CLICK_MS, first_of_each, with_first_click
from pipeline.streaming_sections import Streaming
from streaming.layout import (
    CLICKS,
    IMPRESSIONS,
    LANDED,
    STREAMS,
    Layout,
    write_whole,
)
from streaming.sources import declared
from streaming.tables import HourTables, write_table
from streaming.watermark import HOUR_MS, first_open_hour

Events = Callable[[str, Iterable[int]], DataFrame | None]


@dataclasses.dataclass(frozen=True)
class Landed:
    """Which batches hold rows of an hour that came in time.

    Attributes:
      batches: (stream, hour) -> number of a batch -> rows.
    """

    batches: dict[tuple[str, int], dict[int, int]] = dataclasses.field(default_factory=dict)

    def add(self, manifest: Mapping[str, Any]) -> None:
        """What a batch has landed."""
        for entry in manifest["rows"]:
            if entry["outcome"] == LANDED:
                of_it = self.batches.setdefault((entry["stream"], entry["hour"]), {})
                of_it[manifest["batch"]] = entry["rows"]

    def rows(self, stream: str, hour: int) -> int:
        return sum(self.batches.get((stream, hour), {}).values())

    def hours(self) -> list[int]:
        return sorted({hour for _, hour in self.batches})


def due(
    landed: Landed, closed: Mapping[int, Any], watermark_ms: int | None, settings: Streaming
) -> list[int]:
    """The hours to close, oldest first."""
    first_open = first_open_hour(watermark_ms, settings.attribution_ms)
    if first_open is None:
        return []
    return [hour for hour in landed.hours() if hour < first_open and hour not in closed]


def close(
    spark: SparkSession,
    hour: int,
    landed: Landed,
    watermark_ms: int,
    settings: Streaming,
    layout: Layout,
    tables: HourTables | None = None,
) -> dict[str, Any]:
    """Publishes an hour's spans and its marker, and returns that.

    Args:
      spark: the session.
      hour: since 1970.
      landed: what there is; of clicks also the hours after this one.
      watermark_ms: that has passed it, for the marker.
      settings: of the config.
      layout: where everything lies.
      tables: of the application.
    """

    def events(stream: str, hours: Iterable[int]) -> DataFrame | None:
        return _read(spark, layout, landed, stream, hours)

    frames = joined(hour, events, settings)
    read = {stream: landed.rows(stream, hour) for stream in STREAMS}
    publisher = Publisher(spark, settings, layout, tables)
    marker = publisher.publish(hour, 1, frames, read, {"watermark_ms": watermark_ms})
    forget(hour, landed, layout)
    return marker


def joined(hour: int, events: Events, settings: Streaming) -> dict[str, DataFrame | None]:
    """Stream -> what an hour's span holds: each event once, impressions with their clicks.

    Args:
      hour: since 1970.
      events: (stream, hours) -> what is known of them; None if nothing is.
      settings: of the config.
    """
    frames = {stream: unique(events(stream, [hour]), settings, stream) for stream in STREAMS}
    shown = frames[IMPRESSIONS]
    if shown is not None:
        near = events(CLICKS, settings.click_hours(hour))
        frames[IMPRESSIONS] = attributed(shown, near, settings)
    return frames


@dataclasses.dataclass(frozen=True)
class Publisher:
    """Writes a version of an hour: the spans, the application's tables, at last the marker.

    Attributes:
      spark: the session.
      settings: of the config.
      layout: where everything lies.
      tables: of the application.
    """

    spark: SparkSession
    settings: Streaming
    layout: Layout
    tables: HourTables | None

    def publish(
        self,
        hour: int,
        version: int,
        frames: Mapping[str, DataFrame | None],
        read: Mapping[str, int],
        facts: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Returns the marker.

        Args:
          hour: since 1970.
          version: of the spans; what is there of it already stays.
          frames: stream -> its rows; None if there are none.
          read: stream -> events that they were made of.
          facts: more for the marker.
        """
        started = dt.datetime.now(dt.timezone.utc)
        counts = {}
        for stream, frame in frames.items():
            rows = self._publish(frame, stream, hour, version, read[stream])
            duplicates = read[stream] - rows["rows"]
            counts[stream] = {"landed": read[stream], **rows, "duplicates": duplicates}
        if self.tables is not None and counts[IMPRESSIONS]["rows"]:
            self._publish_tables(hour, version, counts[IMPRESSIONS]["rows"], self.tables)
        marker = {
            "hour": hour,
            "version": version,
            "start_ms": hour * HOUR_MS,
            **counts,
            **facts,
            "closed_at": started.isoformat(timespec="seconds"),
            "seconds": round((dt.datetime.now(dt.timezone.utc) - started).total_seconds(), 2),
        }
        write_whole(self.layout.marker(hour, version), marker)
        return marker

    def _publish(
        self, frame: DataFrame | None, stream: str, hour: int, version: int, read: int
    ) -> dict[str, Any]:
        """Writes a span, and counts what it holds: rows, and of impressions those with a click."""
        if frame is None:
            return {"rows": 0, "files": [], **({"clicked": 0} if stream == IMPRESSIONS else {})}
        target = self.layout.span(stream, hour, version)
        write_table(frame, target, read, declared(self.settings, stream).time)
        written = self.spark.read.parquet(str(target))
        counts = {"rows": F.count(F.lit(1))}
        if stream == IMPRESSIONS:
            counts["clicked"] = F.count(CLICK_MS)
        row = written.agg(*[count.alias(name) for name, count in counts.items()]).first()
        assert row is not None
        return {**row.asDict(), "files": sorted(path.name for path in target.iterdir())}

    def _publish_tables(self, hour: int, version: int, rows: int, tables: HourTables) -> None:
        """Writes the application's tables of an hour, from the hour's span."""
        impressions = self.spark.read.parquet(str(self.layout.span(IMPRESSIONS, hour, version)))
        sources = tables.read(self.spark).frames
        for name, frame in tables.of(self.spark, impressions, hour, sources).items():
            write_table(frame, self.layout.span(name, hour, version), rows, *frame.columns)
        self.spark.catalog.clearCache()  # of what the tables are made of; nothing else is kept


def open_hours(
    spark: SparkSession,
    landed: Landed,
    closed: Mapping[int, Any],
    settings: Streaming,
    layout: Layout,
) -> dict[int, DataFrame]:
    """Hours that are not closed -> the impressions known so far, with clicks, as closing would
    publish them.
    """

    def events(stream: str, hours: Iterable[int]) -> DataFrame | None:
        return _read(spark, layout, landed, stream, hours)

    hours = [hour for hour in landed.hours() if hour not in closed]
    known = {hour: joined(hour, events, settings)[IMPRESSIONS] for hour in hours}
    return {hour: shown for hour, shown in known.items() if shown is not None}


def forget(hour: int, landed: Landed, layout: Layout) -> None:
    """Removes what has landed of a closed hour: its spans hold it."""
    for stream in STREAMS:
        for number in landed.batches.get((stream, hour), ()):
            shutil.rmtree(layout.landed(number, stream, hour), ignore_errors=True)


def attributed(impressions: DataFrame, clicks: DataFrame | None, settings: Streaming) -> DataFrame:
    """Adds CLICK_MS."""
    if clicks is None:
        return impressions.withColumn(CLICK_MS, F.lit(None).cast("bigint"))
    shown, clicked = settings.impressions, settings.clicks
    known = clicks.select(F.col(clicked.of).alias(shown.id), F.col(clicked.time).alias(CLICK_MS))
    return with_first_click(impressions, known, shown.id, shown.time, settings.attribution_ms)


def _read(
    spark: SparkSession, layout: Layout, landed: Landed, stream: str, hours: Iterable[int]
) -> DataFrame | None:
    """None if nothing has landed."""
    folders = [
        str(layout.landed(number, stream, hour))
        for hour in hours
        for number in landed.batches.get((stream, hour), ())
    ]
    return spark.read.parquet(*folders) if folders else None


def unique(frame: DataFrame | None, settings: Streaming, stream: str) -> DataFrame | None:
    """The first row of each id."""
    if frame is None:
        return None
    events = declared(settings, stream)
    return first_of_each(frame.select(*events.columns), events.id, events.time)[0]
