"""The query: batches land, hours are closed; one process, until it is stopped."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming import StreamingQuery

from components.errors import ComponentError
from components.spark_example_gen.job_errors import explain
from pipeline.streaming_sections import Streaming
from streaming import closing, landing, online, sources
from streaming.checkpoint import settle
from streaming.closing import Landed
from streaming.landing import Progress
from streaming.layout import Layout, only_one, write_whole
from streaming.tables import HourTables
from streaming.watermark import HOUR_MS

# ("batch", its manifest), ("hour", its marker), ("away", {"seconds": ..., "reason": ...}) or
# ("online", {"reason": ...}): the online table could not be made
Report = Callable[[str, dict[str, Any]], None]
_log = logging.getLogger(__name__)
_FIRST_WAIT_S, _LONGEST_WAIT_S = 2.0, 60.0
_LOOK_S = 0.5


class Ingest:
    """What has been done so far, and the next batch.

    Args:
      spark: the session.
      settings: section `streaming` of a config.
      report: told of each batch and each closed hour.
      stopping: ends it when it is set.
      tables: the application's, kept of each hour.

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
        self._spark, self._settings, self._report = spark, settings, report
        self._stopping, self._tables = stopping, tables
        self.layout = Layout(settings.folder)
        self._problem: Exception | None = None  # of a batch: Spark tells only its text
        self.layout.batches.mkdir(parents=True, exist_ok=True)
        manifests = self.layout.manifests()
        if manifests and not (self.layout.checkpoint / "metadata").exists():
            raise ComponentError(
                f"{self.layout.checkpoint} is gone, but {self.layout.batches} holds what was read "
                "by it; restore it, or start with an empty streaming.folder (everything that "
                "Kafka still has is read again then)"
            )
        self._progress, self._landed = Progress(), Landed()
        self._newest_ms: int | None = None  # of all events
        self._next_online = 0.0  # by the monotonic clock
        self._closed = self.layout.closed_hours()
        for manifest in manifests:
            self._note(manifest)
        self._at_least(self.layout.watermark_ms())
        for hour in self._closed:  # by a run that ended before it could
            closing.forget(hour, self._landed, self.layout)

    def run(self, *, once: bool = False) -> None:
        """Until it is stopped; with `once`, until what is there now has been read.

        A broker that does not answer is waited for. What fails while it answers is tried once more,
        since it may just have come back; the second time in a row it is an error.
        """
        self.close_due()
        wait, answered = _FIRST_WAIT_S, 0
        while not self._stopping.is_set():
            number = self._progress.number
            query = self._start(once)
            try:
                while not query.awaitTermination(_LOOK_S):  # type: ignore[arg-type]
                    if self._stopping.is_set():
                        return
                return
            except StreamingQueryException as error:
                problem: Exception = self._problem or error
                if once or self._settings.kafka is None or isinstance(problem, ComponentError):
                    raise ComponentError(explain(problem)) from problem
                if self._progress.number > number:
                    wait, answered = _FIRST_WAIT_S, 0  # it did answer since
                away = self._why_no_broker()
                answered += away is None
                if answered > 1:
                    raise ComponentError(explain(problem)) from problem
                self._report("away", {"seconds": wait, "reason": away or explain(problem)})
            finally:
                query.stop()
            self._stopping.wait(wait)
            wait = min(2 * wait, _LONGEST_WAIT_S)

    def _why_no_broker(self) -> str | None:
        """None if it answers.

        It is asked: what a query ends with when a broker goes says little, and in Spark 4.1 nothing
        (a NullPointerException while it reports its progress).
        """
        try:
            sources.check(self._spark, self._settings)
        except ComponentError as error:
            return str(error)
        return None

    @property
    def stopped(self) -> bool:
        return self._stopping.is_set()

    def finish(self) -> None:
        """Closes every hour, as if nothing were to come any more."""
        hours = self._landed.hours()
        if hours:
            end = (max(hours) + 1) * HOUR_MS + self._settings.attribution_ms
            write_whole(self.layout.finished, {"watermark_ms": end})
            self._at_least(end)
            self.close_due()
            self._refresh_online(at_once=True)

    def close_due(self) -> None:
        """Closes the hours that the watermark has passed."""
        watermark = self._progress.watermark_ms
        for hour in closing.due(self._landed, self._closed, watermark, self._settings):
            assert watermark is not None
            marker = closing.close(
                self._spark,
                hour,
                self._landed,
                watermark,
                self._settings,
                self.layout,
                self._tables,
            )
            self._closed[hour] = marker
            self._report("hour", marker)

    def _refresh_online(self, *, at_once: bool = False) -> None:
        """Brings the table for serving to what is known now, when it is time."""
        seconds, tables = self._settings.online_seconds, self._tables
        if seconds is None or tables is None or self._newest_ms is None:
            return
        if not at_once and time.monotonic() < self._next_online:
            return
        try:
            hours = closing.open_hours(
                self._spark, self._landed, self._closed, self._settings, self.layout
            )
            online.update_table(self._spark, tables, self._settings, self._newest_ms + 1, hours)
        except Exception as error:  # no event depends on it: serving keeps the table it has
            _log.exception("the online table is not made anew")
            self._report("online", {"reason": explain(error)})
        self._next_online = time.monotonic() + seconds

    def _start(self, once: bool) -> StreamingQuery:
        self._problem = None
        if self._settings.kafka is not None:
            settle(self.layout.checkpoint, self._progress.number)
        trigger: dict[str, Any] = (
            {"availableNow": True}
            if once
            else {"processingTime": f"{self._settings.trigger_seconds} seconds"}
        )
        return (
            landing.events(self._spark, self._settings)
            .writeStream.foreachBatch(self._batch)
            .option("checkpointLocation", str(self.layout.checkpoint.resolve()))
            .trigger(**trigger)
            .start()
        )

    def _batch(self, batch: DataFrame, number: int) -> None:
        """Called by Spark, in a thread of its own; an error there ends the query."""
        try:
            if number > self._progress.number + 1:
                raise ComponentError(
                    f"Spark's checkpoint is at batch {number}, but {self.layout.batches} ends "
                    f"with {self._progress.number}: they are not of the same stream, or "
                    "manifests are gone; restore them"
                )
            if number > self._progress.number:
                manifest = landing.land(batch, number, self._progress, self._settings, self.layout)
                self._note(manifest)
                self._report("batch", manifest)
            self.close_due()
            self._refresh_online()
        except Exception as error:
            self._problem = error
            raise

    def _note(self, manifest: dict[str, Any]) -> None:
        self._progress = Progress(manifest["batch"], self._progress.watermark_ms)
        self._at_least(manifest["watermark_ms"])
        self._landed.add(manifest)
        newest = [*manifest["newest_ms"].values(), *([self._newest_ms] if self._newest_ms else [])]
        self._newest_ms = max(newest, default=None)

    def _at_least(self, watermark_ms: int | None) -> None:
        """Of finished.json or a manifest: the watermark only moves forward."""
        known = [w for w in (watermark_ms, self._progress.watermark_ms) if w is not None]
        self._progress = Progress(self._progress.number, max(known, default=None))


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
    """Events to hourly spans; see README.md.

    Args:
      spark: the session.
      settings: section `streaming` of a config.
      report: told of each batch and each closed hour, and of a broker that is away.
      once: end when what is there now has been read.
      finish: then close every hour.
      stopping: ends it when it is set; what was begun is done again by the next start.
      tables: the application's, to keep of each hour.

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
