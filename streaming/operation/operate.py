"""Runs the pipeline on each closed hour, one at a time."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from base.errors import ComponentError
from base.locks import is_held
from base.shared_names import RUN_LOCK, RUN_SUMMARY, RUNS_FOLDER
from pipeline.config import PipelineConfig
from streaming.layout import Layout, modification_times
from streaming.operation.due import DueRun, labels_of, next_run, ready_hours
from streaming.operation.records import (
    COMPLETE,
    FAILED,
    RETRY,
    RUNNING,
    HourRecord,
    HourRecords,
    failures_in_a_row,
)
from streaming.operation.spans_done import complete_spans
from streaming.operation.warm_process import RunProcess, load_ahead

_log = logging.getLogger(__name__)
_POLL_S = 1.0
_SHOWN = ("rows", "metrics", "blessed", "canary", "pushed_model", "components")
# ("run", HourRecord), ("line", output of the run), ("ended", HourRecord); when a wait begins,
# ("hour", 0) for an hour to close, ("busy", 0) for another run, ("person", failures) for a retry.
Report = Callable[[str, Any], None]


class Operation:
    """Watches for closed hours and runs the pipeline on them.

    Args:
      config: Config with a section `streaming`.
      given: Path of the config and its `--set` options, for the runs.
      report: Function that is called with each event.
      stopping: Event that ends the operation. A run in progress is interrupted; the next start
        repeats it and reuses cached components.
      most_failures: Number of failed runs in a row after which it waits for a retry.
    """

    def __init__(
        self,
        config: PipelineConfig,
        given: tuple[str, Sequence[str]],
        report: Report,
        stopping: threading.Event,
        most_failures: int = 3,
    ):
        assert config.streaming is not None
        self._config, self._given, self._report = config, given, report
        self._stopping, self._most_failures = stopping, most_failures
        self._layout = Layout(config.streaming.folder)
        self.records = HourRecords(config.streaming.folder)
        self.finished = complete_spans(config)
        self._store_away = False

    def run(self, *, once: bool = False) -> None:
        """Runs until it is stopped; with `once`, until no run is due or a retry is needed."""
        if not once:
            load_ahead(self.records.libraries)
        waits_for = ""
        while not self._stopping.is_set():
            stamp = self._stamp()
            failures = failures_in_a_row(self.records.read())
            needs_person = failures >= self._most_failures
            due = None if needs_person else self.due()
            busy = due is not None and in_progress(self._config)
            if due is not None and not busy:
                self.run_one(due)
                waits_for = ""
                continue
            what = "person" if needs_person else "busy" if busy else "hour"
            if what != waits_for:
                self._report(what, failures)
            waits_for = what
            if once and what != "busy":
                return
            may_change = busy or self._store_away  # neither of them changes our folders
            while not self._stopping.wait(_POLL_S) and not may_change and self._stamp() == stamp:
                pass

    def _stamp(self) -> list[int]:
        """Returns a value that changes when labels are complete or a record is written."""
        indexes = [self._layout.index(table).parent for table in labels_of(self._config)]
        return modification_times(self._layout.markers, *indexes, self.records.folder)

    def due(self) -> DueRun | None:
        """Returns the next run, if one is due.

        ML Metadata is read again only if a run seems due. While it cannot be read, no run is due,
        since a run might be repeated.
        """
        self._store_away = False
        if self._next() is None:
            return None
        try:
            self.finished = complete_spans(self._config)
        except ComponentError as error:
            _log.warning("%s; looking again", error)
            self._store_away = True
            return None
        return self._next()

    def _next(self) -> DueRun | None:
        incremental = self._config.incremental
        first_window = incremental.window if incremental else self._config.spans.window
        ready = ready_hours(self._layout, self._config)
        return next_run(ready, self.finished, self.records.read(), first_window)

    def run_one(self, due: DueRun) -> HourRecord:
        """Runs the pipeline, and returns the record of the run."""
        started = dt.datetime.now(dt.timezone.utc)
        before, closed = self.records.read(), self._layout.closed_hours()
        record = HourRecord(
            due.last,
            due.first,
            RUNNING,
            started.isoformat(timespec="milliseconds"),
            closed_at=closed.get(due.last, {}).get("closed_at"),
            requests=_requests(before, due.last),
        )
        self.records.write(record)
        self._report("run", record)
        folders = _run_folders(self._config)
        code, last_line = self._launch(due)
        if self._stopping.is_set() and code:
            return record  # it stays RUNNING, so the next start repeats it
        summary = _summary(_run_folders(self._config) - folders)
        failed = code != 0 or summary.get("state") != "complete"
        record = dataclasses.replace(
            record,
            state=FAILED if failed else COMPLETE,
            seconds=round((dt.datetime.now(dt.timezone.utc) - started).total_seconds(), 1),
            run_id=summary.get("run_id"),
            error=(summary.get("error") or last_line) if failed else None,
            summary={key: summary[key] for key in _SHOWN if key in summary},
        )
        was, now = before.get(due.last), self.records.read()
        if failed and was is not None and was.state == COMPLETE:
            self.records.write(was)  # only a retry that reached up to it has failed
        else:
            self.records.write(record)
        self._settle(due, record, before, closed)
        for hour in range(due.first, due.last + 1):
            if _requests(now, hour) > _requests(before, hour):  # its labels have changed meanwhile
                self.records.request_retry(hour)
        self._report("ended", record)
        return record

    def _settle(
        self,
        due: DueRun,
        record: HourRecord,
        before: dict[int, HourRecord],
        closed: dict[int, dict[str, Any]],
    ) -> None:
        """Updates the records of retried hours that the run has read.

        An hour that was replayed during the run is marked for another retry.
        """
        now = self._layout.closed_hours()
        for hour, old in before.items():
            if old.state == RETRY and due.first <= hour < due.last:
                ended = dataclasses.replace(
                    old,
                    state=record.state,
                    error=record.error,
                    run_id=record.run_id,
                    started_at=record.started_at,
                )
                self.records.write(ended)
        for hour in range(due.first, due.last + 1):
            read = closed.get(hour, {}).get("version")
            if read is not None and now[hour]["version"] > read:
                self.records.request_retry(hour)

    def _launch(self, due: DueRun) -> tuple[int, str]:
        """Runs local_runner.py, logs its output, and returns its exit status and last line."""
        path, overrides = self._given
        arguments = ["--config", path]
        for override in (*overrides, f"spans.window={due.window}"):
            arguments += ["--set", override]
        process = RunProcess([*arguments, "--span", str(due.last)], self.records.libraries)
        last_line = ""
        with (
            self.records.log(due.last).open("a", encoding="utf-8") as log,
            _interrupted_by(self._stopping, process),
        ):
            for line in process.lines():
                log.write(line)
                log.flush()
                last_line = line.strip() or last_line
                self._report("line", last_line)
        return process.wait(), last_line


@contextlib.contextmanager
def _interrupted_by(stopping: threading.Event, process: RunProcess) -> Iterator[None]:
    """Interrupts the run when `stopping` is set."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            if stopping.wait(_POLL_S / 2):
                process.interrupt()
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _requests(records: Mapping[int, HourRecord], hour: int) -> int:
    return records[hour].requests if hour in records else 0


def in_progress(config: PipelineConfig) -> bool:
    """Returns whether a run of this pipeline holds local_runner.py's lock."""
    return is_held(config.run_folder / RUN_LOCK)


def _run_folders(config: PipelineConfig) -> set[Path]:
    return set((config.run_folder / RUNS_FOLDER).glob("*"))


def _summary(new: set[Path]) -> dict[str, Any]:
    """Returns the summary of the newest run folder; empty if the run did not write one."""
    for folder in sorted(new, reverse=True):
        path = folder / RUN_SUMMARY
        if path.is_file():
            return dict(json.loads(path.read_text("utf-8")))
    return {}
