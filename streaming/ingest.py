"""Lands batches of events and closes hours, until it is stopped."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from base.atomic_files import write_json
from base.errors import ComponentError
from pipeline.streaming_sections import Streaming
from spark_io.jobs.errors import explain
from streaming import closing, landing, online, sources
from streaming.file_reading import FileReading
from streaming.hour_events import landed_batches, remove_landed
from streaming.hour_rows import HourRows
from streaming.indexes import write_indexes
from streaming.kafka_query import KafkaQuery
from streaming.landing import Progress
from streaming.layout import Layout, exclusive_lock
from streaming.manifests import pack
from streaming.replay import make_again, unfinished
from streaming.tables import HourTables
from streaming.watermark import HOUR_MS, advanced

# ("batch", its manifest); ("hour", its marker); ("again", the marker of an hour's next version);
# ("away", {"seconds": ..., "reason": ...});
# ("partitions", {"topic": ..., "stream": ..., "added": [...]}) for new partitions;
# ("file", {"stream": ..., "path": ..., "reason": ...}) for a file that is left out or has changed;
# ("online", {"reason": ...}) if the online store was not updated
Report = Callable[[str, dict[str, Any]], None]
_PACK_BATCHES = 500  # batches between two attempts to pack manifests
_log = logging.getLogger(__name__)


class Ingest:
    """The state of an ingest: progress, manifests and closed hours.

    Args:
      spark: Spark session.
      settings: Section `streaming` of a config.
      report: Function that is called with each event; see Report.
      stopping: Event that ends the ingest.
      tables: Tables of the application, written for each hour.

    Raises:
      ComponentError: The parts of the folder do not belong together.
    """

    def __init__(
        self,
        spark: SparkSession,
        settings: Streaming,
        report: Report,
        stopping: threading.Event,
        tables: HourTables | None = None,
    ):
        self.spark, self.settings, self.report = spark, settings, report
        self.stopping, self._tables = stopping, tables
        self.layout = Layout(settings.folder)
        self.layout.batches.mkdir(parents=True, exist_ok=True)
        pack(self.layout.batches)
        self.manifests = self.layout.manifests()
        self._closed = self.layout.closed_hours()
        self._check_folder()
        self.progress, self._landed = Progress(), landed_batches(self.manifests)
        self.newest_manifest: dict[str, Any] = {}
        self._newest_ms: int | None = None  # newest event time
        self._next_online = 0.0  # monotonic time of the next update
        for manifest in self.manifests:
            self._note(manifest)
        self._at_least(self.layout.watermark_ms())
        for marker in self._closed.values():  # a crash may have left landed rows
            remove_landed(marker, self._landed, self.layout)
        self._check_streams()

    @property
    def _rows(self) -> HourRows:
        known = closing.in_time(self.spark, self._landed, self._closed, self.settings, self.layout)
        return HourRows(self.spark, self.settings, known)

    def _check_streams(self) -> None:
        """Raises ComponentError if events of a stream would never leave the landing."""
        for stream, events in closing.undeclared(self._landed, self._closed, self.settings).items():
            raise ComponentError(
                f"streaming.streams: {events:,} events of '{stream}' have landed in hours that are "
                "still open, but there is no such stream; declare it until these hours are closed"
            )

    def _check_folder(self) -> None:
        """Raises ComponentError if the folder holds batches of another source."""
        numbers = [manifest["batch"] for manifest in self.manifests]
        of_files = any("files" in manifest for manifest in self.manifests)
        of_kafka = any(manifest["offsets"] for manifest in self.manifests)
        if of_kafka if self.settings.kafka is None else of_files:
            was, now = ("kafka", "watched") if of_kafka else ("watched", "kafka")
            raise ComponentError(
                f"{self.settings.folder}: expected batches that were read from streaming.{now}. "
                f"Received: batches from streaming.{was}. Choose another streaming.folder"
            )
        if self.settings.kafka is not None:
            if numbers and not (self.layout.checkpoint / "metadata").exists():
                raise ComponentError(
                    f"{self.layout.checkpoint} is gone, but {self.layout.batches} holds batches "
                    "that were read with it; restore it, or start with an empty streaming.folder "
                    "(which reads everything again that Kafka still has)"
                )
            return
        if not all("files" in manifest for manifest in self.manifests):
            raise ComponentError(
                f"{self.layout.batches}: an earlier version of this project has read files without "
                "noting which. Read the events again into a new streaming.folder"
            )
        folders = [int(p.name) for p in self.layout.batches.iterdir() if p.name.isdecimal()]
        if numbers != list(range(len(numbers))) or max(folders, default=0) > len(numbers):
            raise ComponentError(
                f"{self.layout.batches}: expected a manifest for each batch. Received: "
                f"{len(numbers)} manifests for batches up to {max([*numbers, *folders])}. Without "
                "manifests it is unknown which files were read; restore them, or start with an "
                "empty streaming.folder"
            )

    def run(self, *, once: bool = False) -> None:
        """Reads until it is stopped; with `once`, until all present events have been read."""
        self.close_due()
        if self.settings.kafka is None:
            FileReading(self).run(once=once)
        else:
            KafkaQuery(self).run(once=once)

    @property
    def stopped(self) -> bool:
        """Whether the ingest was asked to end."""
        return self.stopping.is_set()

    def finish(self) -> None:
        """Closes every hour, as if no more events would come."""
        hours = self._landed.hours()
        if hours:
            end = (max(hours) + 1) * HOUR_MS
            longest = max((one.within_ms for one in self.settings.outcomes.values()), default=0)
            times = {"watermark_ms": end, "outcomes_ms": end + longest}
            write_json(self.layout.finished, times, durable=True)
            self._at_least(end)
            self.close_due()
            self._refresh_online(at_once=True)

    def land(
        self,
        batch: DataFrame,
        number: int,
        *,
        ends_round: bool = True,
        facts: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        """Lands a batch, and closes the hours that are due; see landing.land.

        Raises:
          ComponentError: It is not the next batch, so events would be skipped or read twice.
        """
        if number != self.progress.number + 1:
            raise ComponentError(
                f"{self.layout.checkpoint}: expected batch {self.progress.number + 1}, the next "
                f"one of {self.layout.batches}. Received: batch {number}. Manifests are gone, or "
                "the checkpoint is an old copy; restore both from the same time"
            )
        manifest = landing.land(
            batch,
            number,
            self.progress,
            self._closed.keys(),
            self.settings,
            self.layout,
            ends_round=ends_round,
            facts=facts,
        )
        if number % _PACK_BATCHES == 0:
            pack(self.layout.batches)
        self.newest_manifest = manifest
        self._landed.add(manifest)
        self._note(manifest)
        self.report("batch", manifest)
        self.close_due()
        self._refresh_online()

    def end_round(self) -> None:
        """Moves the watermark at the end of a round whose remaining files are gone."""
        newest = self.progress.round_newest_ms
        if newest:
            moved = advanced(self.progress.watermark_ms, newest, self.settings.lateness_ms)
            self.progress = Progress(self.progress.number, moved)
            self.close_due()

    def close_due(self) -> None:
        """Closes the hours that the watermark has passed, and publishes what it has reached."""
        watermark = self.progress.watermark_ms
        for hour in closing.due(self._landed, self._closed, watermark):
            assert watermark is not None
            marker = closing.close(
                self.spark,
                hour,
                self._landed,
                self._closed,
                watermark,
                self.settings,
                self.layout,
                self._tables,
            )
            self._closed[hour] = marker
            write_indexes(self.layout, self._closed, hour * HOUR_MS, self.settings)
            self.report("hour", marker)
        if unfinished(self._closed):
            for marker in make_again(self.spark, self.settings, self._tables):
                self._closed[marker["hour"]] = marker
                self.report("again", marker)
        outcomes = closing.publish_previews(
            self._rows, self._landed, self._closed, watermark, self.layout
        )
        if (finished := self.layout.outcomes_ms()) is not None:
            outcomes = {s: max(finished, outcomes.get(s, 0)) for s in self.settings.outcomes}
        write_indexes(self.layout, self._closed, watermark, self.settings, outcomes)

    def _refresh_online(self, *, at_once: bool = False) -> None:
        """Updates the online store if it is time."""
        seconds, tables = self.settings.online_seconds, self._tables
        if seconds is None or tables is None or self._newest_ms is None:
            return
        if not at_once and time.monotonic() < self._next_online:
            return
        try:
            hours = closing.open_hours(self._rows, self._landed, self._closed)
            online.update_store(self.spark, tables, self.settings, self._newest_ms + 1, hours)
        except Exception as error:  # serving keeps the old values
            _log.exception("the online store was not updated")
            self.report("online", {"reason": explain(error)})
        self._next_online = time.monotonic() + seconds

    def _note(self, manifest: dict[str, Any]) -> None:
        self.progress = self.progress.after(manifest)
        newest = [*manifest["newest_ms"].values(), *([self._newest_ms] if self._newest_ms else [])]
        self._newest_ms = max(newest, default=None)

    def _at_least(self, watermark_ms: int | None) -> None:
        """Moves the watermark forward to a stored one, never back."""
        known = [w for w in (watermark_ms, self.progress.watermark_ms) if w is not None]
        newest = self.progress.round_newest_ms
        self.progress = Progress(self.progress.number, max(known, default=None), newest)


def ingest(
    spark: SparkSession,
    settings: Streaming,
    report: Report,
    *,
    once: bool = False,
    finish: bool = False,
    stopping: threading.Event | None = None,
    tables: HourTables | None = None,
) -> None:
    """Reads events into hourly spans; see README.md.

    Args:
      spark: Spark session.
      settings: Section `streaming` of a config.
      report: Function that is called with each event; see Report.
      once: Whether to end when all present events have been read.
      finish: Whether to do so and then close every hour.
      stopping: Event that ends the ingest. The next start repeats unfinished work.
      tables: Tables of the application, written for each hour.

    Raises:
      ComponentError: There is no source, another ingest writes to the folder, or its parts do not
        belong together.
    """
    with exclusive_lock(settings.folder, "ingest"):
        sources.check(spark, settings)
        running = Ingest(spark, settings, report, stopping or threading.Event(), tables)
        running.run(once=once or finish)
        if finish and not running.stopped:  # else unread events would become late
            running.finish()
