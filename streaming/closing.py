"""An hour: duplicates out, clicks to their impressions, published; then its marker.

All of it follows from what has landed, which does not change any more: an hour that was closed
half-way before a crash is closed the same way again.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from pipeline.click_log import CLICK_MS, first_of_each, with_first_click
from pipeline.sections import Streaming
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
    started = dt.datetime.now(dt.timezone.utc)
    impressions = _unique(_read(spark, layout, landed, IMPRESSIONS, [hour]), settings, IMPRESSIONS)
    reach = math.ceil(settings.attribution_ms / HOUR_MS)
    near = _read(spark, layout, landed, CLICKS, range(hour, hour + reach + 1))
    clicks = _unique(_read(spark, layout, landed, CLICKS, [hour]), settings, CLICKS)
    frames = {
        IMPRESSIONS: attributed(impressions, near, settings) if impressions is not None else None,
        CLICKS: clicks,
    }
    counts = {}
    for stream, frame in frames.items():
        read = landed.rows(stream, hour)
        rows = _publish(frame, stream, hour, settings, layout, read)
        counts[stream] = {"landed": read, "rows": rows["rows"], "duplicates": read - rows["rows"]}
        counts[stream] |= {key: value for key, value in rows.items() if key != "rows"}
    shown = counts[IMPRESSIONS]["rows"]
    if tables is not None and shown:
        _publish_tables(spark, hour, shown, tables, layout)
    marker = {
        "hour": hour,
        "start_ms": hour * HOUR_MS,
        **counts,
        "watermark_ms": watermark_ms,
        "closed_at": started.isoformat(timespec="seconds"),
        "seconds": round((dt.datetime.now(dt.timezone.utc) - started).total_seconds(), 2),
    }
    write_whole(layout.marker(hour), marker)
    forget(hour, landed, layout)
    return marker


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
    spark: SparkSession, layout: Layout, landed: Landed, stream: str, hours: Sequence[int]
) -> DataFrame | None:
    """None if nothing has landed."""
    folders = [
        str(layout.landed(number, stream, hour))
        for hour in hours
        for number in landed.batches.get((stream, hour), ())
    ]
    return spark.read.parquet(*folders) if folders else None


def _unique(frame: DataFrame | None, settings: Streaming, stream: str) -> DataFrame | None:
    """The first row of each id."""
    if frame is None:
        return None
    events = declared(settings, stream)
    return first_of_each(frame.select(*events.columns), events.id, events.time)[0]


def _publish(
    frame: DataFrame | None,
    stream: str,
    hour: int,
    settings: Streaming,
    layout: Layout,
    landed: int,
) -> dict[str, Any]:
    """Writes a span, and counts what it holds: rows, and of impressions those with a click."""
    if frame is None:
        return {"rows": 0, "files": [], **({"clicked": 0} if stream == IMPRESSIONS else {})}
    target = layout.span(stream, hour)
    write_table(frame, target, landed, declared(settings, stream).time)
    written = frame.sparkSession.read.parquet(str(target))
    counts = {"rows": F.count(F.lit(1))}
    if stream == IMPRESSIONS:
        counts["clicked"] = F.count(CLICK_MS)
    row = written.agg(*[count.alias(name) for name, count in counts.items()]).first()
    assert row is not None
    files_there = sorted(path.name for path in target.iterdir())
    return {**row.asDict(), "files": files_there}


def _publish_tables(
    spark: SparkSession, hour: int, rows: int, tables: HourTables, layout: Layout
) -> None:
    """Writes the application's tables of an hour, from the hour's span."""
    impressions = spark.read.parquet(str(layout.span(IMPRESSIONS, hour)))
    for name, frame in tables.of(spark, impressions, hour).items():
        write_table(frame, layout.span(name, hour), rows, *frame.columns)
    spark.catalog.clearCache()  # of the sources read for it; this session keeps nothing else
