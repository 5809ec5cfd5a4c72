"""Continuous operation: for each closed hour a run of the pipeline, one at a time."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from base.errors import ComponentError
from base.locks import is_held
from base.shared_names import RUN_LOCK, RUN_SUMMARY, RUNS_FOLDER
from pipeline.config import PipelineConfig
from streaming.layout import IMPRESSIONS, Layout, changed_ns
from streaming.operation.due import Due, next_run
from streaming.operation.records import (
    COMPLETE,
    FAILED,
    RETRY,
    RUNNING,
    HourRecord,
    Records,
    failures_in_a_row,
)
from streaming.operation.spans_done import complete_spans
from streaming.operation.warm_process import RunProcess, load_ahead

_log = logging.getLogger(__name__)
_LOOK_S = 1.0
_SHOWN = ("rows", "metrics", "blessed", "canary", "pushed_model", "components")
# ("run", HourRecord), ("line", what the run printed), ("ended", HourRecord); when a wait begins:
# ("hour", 0) for one to close, ("busy", 0) for a run of somebody else's, ("person", failures).
Report = Callable[[str, Any], None]


class Operation:
    """Watches for closed hours and runs the pipeline on them.

    Args:
      config: with `streaming`.
      given: the config's path, and the `--set` options: for the runs.
      report: told of what happens.
      stopping: ends it when it is set; a run in progress is interrupted, and repeated by the next
        start, what is complete from the cache.
      most_failures: so many failed runs in a row, and it waits for a person.
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
        self.records = Records(config.streaming.folder)
        self.finished = complete_spans(config)  # spans
        self._store_away = False

    def run(self, *, once: bool = False) -> None:
        """Until it is stopped; with `once` until nothing is due, or a person is needed."""
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
            may_change = busy or self._store_away  # without a file of ours
            while not self._stopping.wait(_LOOK_S) and not may_change and self._stamp() == stamp:
                pass

    def _stamp(self) -> list[int]:
        """Changes when an hour is closed, or a record written: all of them are read then only."""
        return changed_ns(self._layout.markers, self.records.folder)

    def due(self) -> Due | None:
        """The next run; ML Metadata is asked again only when there seems to be one.

        A store that cannot be read now is no store without runs: it is waited for.
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

    def _next(self) -> Due | None:
        incremental = self._config.incremental
        first_window = incremental.window if incremental else self._config.spans.window
        closed = self._layout.closed_hours()
        with_rows = {hour for hour, marker in closed.items() if marker[IMPRESSIONS]["rows"]}
        return next_run(with_rows, self.finished, self.records.read(), first_window)

    def run_one(self, due: Due) -> HourRecord:
        """A run, and its record."""
        started = dt.datetime.now(dt.timezone.utc)
        before, closed = self.records.read(), self._layout.closed_hours()
        record = HourRecord(
            due.last,
            due.first,
            RUNNING,
            started.isoformat(timespec="milliseconds"),
            closed_at=closed.get(due.last, {}).get("closed_at"),
        )
        self.records.write(record)
        self._report("run", record)
        folders = _run_folders(self._config)
        code, last_line = self._launch(due)
        if self._stopping.is_set() and code:
            return record  # it stays RUNNING: the next start repeats it
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
        was = before.get(due.last)
        if failed and was is not None and was.state == COMPLETE:
            self.records.write(was)  # a retry reached up to it; it is as done as it was
        else:
            self.records.write(record)
        self._settle(due, record, before, closed)
        self._report("ended", record)
        return record

    def _settle(
        self,
        due: Due,
        record: HourRecord,
        before: dict[int, HourRecord],
        closed: dict[int, dict[str, Any]],
    ) -> None:
        """The hours that a person wanted tried again, as far as the run reached back to them.

        One that was replayed while the run was under way is to be tried again still.
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
                self.records.ask_again(hour)

    def _launch(self, due: Due) -> tuple[int, str]:
        """(exit status, the last line it printed) of local_runner.py, whose output is kept."""
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
    """Passes a wish to stop on to the run."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            if stopping.wait(_LOOK_S / 2):
                process.interrupt()
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def in_progress(config: PipelineConfig) -> bool:
    """Returns whether a run of this pipeline holds local_runner.py's lock."""
    return is_held(config.run_folder / RUN_LOCK)


def _run_folders(config: PipelineConfig) -> set[Path]:
    return set((config.run_folder / RUNS_FOLDER).glob("*"))


def _summary(new: set[Path]) -> dict[str, Any]:
    """Returns the summary of the run that has come; empty if it did not get so far."""
    for folder in sorted(new, reverse=True):
        path = folder / RUN_SUMMARY
        if path.is_file():
            return dict(json.loads(path.read_text("utf-8")))
    return {}
