"""Publishes a version of an hour: its spans, what later hours need of it, and last its marker."""

from __future__ import annotations

import dataclasses
import datetime as dt
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

import base.arrow  # noqa: F401
from base.atomic_files import write_json
from base.durations import HOUR_MS
from features.history_columns import PAST
from pipeline.streaming_sections import Streaming
from spark_io.sources.column_names import REASON, quoted
from streaming.hour_rows import HourRows
from streaming.indexes import complete_ms
from streaming.landed_columns import Events
from streaming.layout import PREVIEW, Layout
from streaming.tables import HourTables, read_parquet, write_table


@dataclasses.dataclass(frozen=True)
class Publisher:
    """Writes versions of hours.

    Attributes:
      rows: Reader of the events of other hours.
      layout: Paths below the streaming folder.
      tables: Tables of the application.
    """

    rows: HourRows
    layout: Layout
    tables: HourTables | None

    @property
    def settings(self) -> Streaming:
        return self.rows.settings

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
          events: Stream -> its unique events.
          read: Stream -> number of events before duplicates were removed.
          facts: More entries for the marker.
          unfit_before: Stream -> number of unfit events that earlier versions left out.
        """
        started = dt.datetime.now(dt.timezone.utc)
        for folder in self.layout.unmarked(hour, version - 1):
            shutil.rmtree(folder)  # settings may have changed since
        streams: dict[str, dict[str, Any]] = {}
        for stream, one in events.items():
            rows = self._publish(one.rows, stream, hour, version, read[stream])
            unfit = self._publish_unfit(one.unfit, stream, hour, version)
            unfit += (unfit_before or {}).get(stream, 0)
            duplicates = read[stream] - rows["rows"] - unfit
            streams[stream] = {
                "landed": read[stream],
                **rows,
                "duplicates": duplicates,
                "unfit": unfit,
            }
        self._judge(hour, version, streams)
        marker = {
            "hour": hour,
            "version": version,
            "start_ms": hour * HOUR_MS,
            "streams": streams,
            **facts,
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
        """Writes a span, and returns its files and number of rows."""
        empty: dict[str, Any] = {"rows": 0, "files": []}
        if frame is None:
            return empty
        target = self.layout.span(stream, hour, version)
        write_table(frame, target, read, quoted(self.settings.streams[stream].time))
        rows = sum(pq.read_metadata(part).num_rows for part in target.iterdir())
        if rows == 0:  # every event was unfit
            shutil.rmtree(target)
            return empty
        return {"rows": rows, "files": sorted(path.name for path in target.iterdir())}

    def _judge(self, hour: int, version: int, streams: dict[str, dict[str, Any]]) -> None:
        """Adds what became of the hour's outcomes, and writes what later hours need of the hour."""
        own = {
            stream: read_parquet(self.rows.spark, self.layout.span(stream, hour, version))
            if one["rows"]
            else None
            for stream, one in streams.items()
        }
        verdicts = self.rows.verdicts(hour, own)
        for stream, counts in verdicts.counts.items():
            streams[stream]["outcomes"] = counts
            if version == 1:
                streams[stream]["after_labels"] = self._after_labels(hour, stream)
        if self.tables is not None:
            inputs = self.rows.inputs(hour, own, verdicts.hours)
            statics = self.tables.read(self.rows.spark)
            past = self.tables.past(self.rows.spark, inputs, hour, statics.frames)
            rows = sum(one["rows"] for one in streams.values())
            write_table(past, self.layout.span(PAST, hour, version), rows, "entity", "key", "tile")
            self.rows.spark.catalog.clearCache()  # holds only the input of this table

    def _after_labels(self, hour: int, stream: str) -> int:
        """Returns the outcomes of an hour that came after a run could read them.

        They were in time for their hour, but before a time up to which the stream's index already
        said that all outcomes are there.
        """
        until = complete_ms(self.layout, stream)
        if until is None or until <= hour * HOUR_MS:
            return 0
        spans = [self.layout.span(stream, hour, version) for version in (1, PREVIEW)]
        now, then = (self._before(span, stream, until) for span in spans)
        return max(0, now - then)

    def _before(self, span: Path, stream: str, until_ms: int) -> int:
        if not span.exists():
            return 0
        time = F.col(quoted(self.settings.streams[stream].time))
        return read_parquet(self.rows.spark, span).where(time < until_ms).count()
