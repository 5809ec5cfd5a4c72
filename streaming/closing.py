"""An hour: duplicates out, clicks to their impressions, published; then its marker.

All of it follows from what has landed, which does not change any more: an hour that was closed
half-way before a crash is closed the same way again.
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
from pipeline.streaming_sections import Streaming
from spark_io.sources.column_names import REASON, quoted
from streaming.column_names import declared
from streaming.hour_events import Landed, forget, in_time
from streaming.landed_columns import Events, read_events
from streaming.layout import CLICKS, IMPRESSIONS, STREAMS, Layout
from streaming.tables import HourTables, read_parquet, write_table
from streaming.watermark import HOUR_MS, first_open_hour

Known = Callable[[str, Iterable[int]], Events]


def due(
    landed: Landed, closed: Collection[int], watermark_ms: int | None, settings: Streaming
) -> list[int]:
    """Returns the hours to close, oldest first.

    An hour with a marker is closed, whatever the settings say. One without is due once the
    watermark has passed its end and the attribution window behind it.
    """
    first_open = first_open_hour(watermark_ms, settings.attribution_ms)
    if first_open is None:
        return []
    return [hour for hour in landed.hours() if hour < first_open and hour not in closed]


def close(
    spark: SparkSession,
    hour: int,
    landed: Landed,
    closed: Mapping[int, Any],
    watermark_ms: int,
    settings: Streaming,
    layout: Layout,
    tables: HourTables | None = None,
) -> dict[str, Any]:
    """Publishes an hour's spans and its marker, and returns the marker.

    Args:
      spark: The session.
      hour: Number since 1970.
      landed: What batches have landed; of clicks also the hours after this one.
      closed: Hour -> its newest marker.
      watermark_ms: Time that has passed the hour, for the marker.
      settings: Section `streaming` of the config.
      layout: Where everything lies.
      tables: Tables of the application.
    """

    def known(stream: str, hours: Iterable[int]) -> Events:
        folders = in_time(layout, landed, closed, stream, hours)
        return read_events(spark, folders, settings, stream)

    publisher = Publisher(spark, settings, layout, tables)
    read = {stream: landed.rows(stream, hour) for stream in STREAMS}
    marker = publisher.publish(
        hour, 1, joined(hour, known, settings), read, {"watermark_ms": watermark_ms}
    )
    forget(marker, landed, layout)
    return marker


def joined(hour: int, known: Known, settings: Streaming) -> dict[str, Events]:
    """Returns stream -> what an hour's span holds: each event once, impressions with their clicks.

    Args:
      hour: Number since 1970.
      known: (stream, hours) -> the events of these hours.
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
    """Writes a version of an hour: the spans, the application's tables, at last the marker.

    Attributes:
      spark: The session.
      settings: Section `streaming` of the config.
      layout: Where everything lies.
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
        """Returns the marker.

        Args:
          hour: Number since 1970.
          version: Number of the version; what a killed process left of it is made again.
          events: Stream -> its events.
          read: Stream -> number of events that they were made of.
          facts: More for the marker.
          unfit_before: Stream -> number of unfit events that earlier versions left out.
        """
        started = dt.datetime.now(dt.timezone.utc)
        for folder in self.layout.beyond(hour, version - 1):
            shutil.rmtree(folder)  # its process was killed; settings may have changed since
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
        """Keeps the events that do not fit the declared types, and returns their number."""
        if unfit is None or (rows := unfit.count()) == 0:
            return 0
        write_table(unfit, self.layout.unfit(stream, hour, version), rows, REASON)
        return rows

    def _publish(
        self, frame: DataFrame | None, stream: str, hour: int, version: int, read: int
    ) -> dict[str, Any]:
        """Writes a span, and counts what it holds: rows, and of impressions those with a click."""
        nothing = {"rows": 0, "files": [], **({"clicked": 0} if stream == IMPRESSIONS else {})}
        if frame is None:
            return nothing
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
            return nothing
        return {**row.asDict(), "files": sorted(path.name for path in target.iterdir())}

    def _publish_tables(self, hour: int, version: int, rows: int, tables: HourTables) -> None:
        """Writes the application's tables of an hour, from the hour's span."""
        impressions = read_parquet(self.spark, self.layout.span(IMPRESSIONS, hour, version))
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
    """Returns open hours -> the impressions known so far, with clicks, as closing would publish
    them.
    """

    def known(stream: str, hours: Iterable[int]) -> Events:
        folders = in_time(layout, landed, closed, stream, hours)
        return read_events(spark, folders, settings, stream)

    hours = [hour for hour in landed.hours() if hour not in closed]
    found = {hour: joined(hour, known, settings)[IMPRESSIONS].rows for hour in hours}
    return {hour: shown for hour, shown in found.items() if shown is not None}


def attributed(impressions: DataFrame, clicks: DataFrame | None, settings: Streaming) -> DataFrame:
    """Adds CLICK_MS."""
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
