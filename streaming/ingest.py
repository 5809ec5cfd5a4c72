"""Events to hourly spans: batches land, hours are closed; one process, until it is stopped."""

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
from streaming.hour_events import forget, landed_of
from streaming.kafka_query import KafkaQuery
from streaming.landing import Progress
from streaming.layout import Layout, only_one
from streaming.manifests import pack
from streaming.tables import HourTables
from streaming.watermark import HOUR_MS, advanced

# ("batch", its manifest), ("hour", its marker), ("away", {"seconds": ..., "reason": ...}),
# ("partitions", {"topic": ..., "stream": ..., "added": [...]}): they are read from their beginning,
# ("file", {"stream": ..., "path": ..., "reason": ...}): one that is left out or has changed, or
# ("online", {"reason": ...}): the online table could not be made
Report = Callable[[str, dict[str, Any]], None]
_PACK_BATCHES = 500  # after so many it is looked whether manifests are to be packed
_log = logging.getLogger(__name__)


class Ingest:
    """What has been done so far, and what a batch adds to it.

    Args:
      spark: The session.
      settings: Section `streaming` of a config.
      report: Told of each batch and each closed hour.
      stopping: Ends it when it is set.
      tables: Tables of the application, kept of each hour.

    Raises:
      ComponentError: the folder's parts do not belong together.
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
        self.progress, self._landed = Progress(), landed_of(self.manifests)
        self.newest_manifest: dict[str, Any] = {}
        self._newest_ms: int | None = None  # of all events
        self._next_online = 0.0  # by the monotonic clock
        for manifest in self.manifests:
            self._note(manifest)
        self._at_least(self.layout.watermark_ms())
        for marker in self._closed.values():  # by a run that ended before it could
            forget(marker, self._landed, self.layout)

    def _check_folder(self) -> None:
        """Raises ComponentError if what lies there is not what this source has read."""
        numbers = [manifest["batch"] for manifest in self.manifests]
        of_files = any("files" in manifest for manifest in self.manifests)
        of_kafka = any(manifest["offsets"] for manifest in self.manifests)
        if of_kafka if self.settings.kafka is None else of_files:
            was, now = ("kafka", "watched") if of_kafka else ("watched", "kafka")
            raise ComponentError(
                f"{self.settings.folder}: expected batches that were read from streaming.{now}. "
                f"Received: batches from streaming.{was}. Name another streaming.folder"
            )
        if self.settings.kafka is not None:
            if numbers and not (self.layout.checkpoint / "metadata").exists():
                raise ComponentError(
                    f"{self.layout.checkpoint} is gone, but {self.layout.batches} holds what was "
                    "read by it; restore it, or start with an empty streaming.folder (everything "
                    "that Kafka still has is read again then)"
                )
            return
        folders = [int(p.name) for p in self.layout.batches.iterdir() if p.name.isdecimal()]
        if numbers != list(range(len(numbers))) or max(folders, default=0) > len(numbers):
            raise ComponentError(
                f"{self.layout.batches}: expected a manifest for each batch. Received: "
                f"{len(numbers)} manifests for batches up to {max([*numbers, *folders])}. They are "
                "not of the same stream, or manifests are gone, which say which files were read; "
                "restore them, or start with an empty streaming.folder"
            )

    def run(self, *, once: bool = False) -> None:
        """Reads until it is stopped; with `once`, until what is there now has been read."""
        self.close_due()
        if self.settings.kafka is None:
            FileReading(self).run(once=once)
        else:
            KafkaQuery(self).run(once=once)

    @property
    def stopped(self) -> bool:
        """Whether somebody has asked it to end."""
        return self.stopping.is_set()

    def finish(self) -> None:
        """Closes every hour, as if nothing were to come any more."""
        hours = self._landed.hours()
        if hours:
            end = (max(hours) + 1) * HOUR_MS + self.settings.attribution_ms
            write_json(self.layout.finished, {"watermark_ms": end}, durable=True)
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
        """Lands a batch, and closes the hours that are due then. See landing.land.

        Raises:
          ComponentError: it is not the next batch: some would be read twice, or not at all.
        """
        if number != self.progress.number + 1:
            raise ComponentError(
                f"{self.layout.checkpoint} is at batch {number}, but {self.layout.batches} ends "
                f"with {self.progress.number}: they are not of the same stream, manifests are "
                "gone, or the checkpoint is an old copy; restore both from the same time"
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
        """Moves the watermark by what batches have read of a round whose other files are gone."""
        newest = self.progress.round_newest_ms
        if newest:
            moved = advanced(self.progress.watermark_ms, newest, self.settings.lateness_ms)
            self.progress = Progress(self.progress.number, moved)
            self.close_due()

    def close_due(self) -> None:
        """Closes the hours that the watermark has passed."""
        watermark = self.progress.watermark_ms
        for hour in closing.due(self._landed, self._closed, watermark, self.settings):
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
            self.report("hour", marker)

    def _refresh_online(self, *, at_once: bool = False) -> None:
        """Brings the table for serving to what is known now, when it is time."""
        seconds, tables = self.settings.online_seconds, self._tables
        if seconds is None or tables is None or self._newest_ms is None:
            return
        if not at_once and time.monotonic() < self._next_online:
            return
        try:
            hours = closing.open_hours(
                self.spark, self._landed, self._closed, self.settings, self.layout
            )
            online.update_table(self.spark, tables, self.settings, self._newest_ms + 1, hours)
        except Exception as error:  # no event depends on it: serving keeps the table it has
            _log.exception("the online table is not made anew")
            self.report("online", {"reason": explain(error)})
        self._next_online = time.monotonic() + seconds

    def _note(self, manifest: dict[str, Any]) -> None:
        self.progress = self.progress.after(manifest)
        newest = [*manifest["newest_ms"].values(), *([self._newest_ms] if self._newest_ms else [])]
        self._newest_ms = max(newest, default=None)

    def _at_least(self, watermark_ms: int | None) -> None:
        """Moves the watermark forward to that of finished.json or a manifest, never back."""
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
      spark: The session.
      settings: Section `streaming` of a config.
      report: Told of each batch and each closed hour, of a broker that is away, and of files that
        are left out or have changed.
      once: Whether to end when what is there now has been read.
      finish: Whether to close every hour then.
      stopping: Ends it when it is set; what was begun is done again by the next start.
      tables: Tables of the application, to keep of each hour.

    Raises:
      ComponentError: nothing to read from; a folder that another ingest writes to, or whose parts
        do not belong together.
    """
    with only_one(settings.folder, "ingest"):
        sources.check(spark, settings)
        running = Ingest(spark, settings, report, stopping or threading.Event(), tables)
        running.run(once=once or finish)
        if finish and not running.stopped:  # by Ctrl-C: what was not read yet would be late
            running.finish()
