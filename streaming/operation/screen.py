"""Prints the progress of `streaming run`, and updates its page."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.status import Status
from rich.text import Text

from pipeline.config import PipelineConfig
from streaming.layout import hour_name
from streaming.operation.operate import Operation
from streaming.operation.overview import metric_texts, overview, release_text, write_page
from streaming.operation.records import FAILED, HourRecord


class OperationScreen:
    """Prints a line for each run, and the output of the run in progress.

    Args:
      console: Console to print to.
      config: Config of the pipeline.
      most_failures: Number of failed runs in a row after which the operation waits.
    """

    def __init__(self, console: Console, config: PipelineConfig, most_failures: int):
        assert config.streaming is not None
        self._console, self._config = console, config
        self._name, self._folder = config.name, config.streaming.folder
        self._most_failures = most_failures
        self._status = Status("", console=console)
        self._operation: Operation | None = None

    def watch(self, operation: Operation) -> None:
        """Sets the operation that the page shows. The operation itself needs `report` first."""
        self._operation = operation

    def __enter__(self) -> OperationScreen:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._status.stop()

    def report(self, what: str, content: Any) -> None:
        """Prints an event; see operate.Report."""
        if what == "line":
            self._status.update(Text(str(content)))
            return
        if what == "run":
            self._console.print(_beginning(content))
            self._status.update("")
            self._status.start()
        else:
            self._status.stop()
            self._console.print(self._text(what, content))
        with contextlib.suppress(OSError):  # a run must not fail because of the page
            done = self._operation.finished if self._operation else set()
            found = overview(self._config, done, self._most_failures)
            write_page(self._folder, found, self._name)

    def _text(self, what: str, content: Any) -> str:
        if what == "ended":
            return _ending(content)
        if what == "person":
            return (
                f"{content} runs in a row have failed: waiting for a retry. Fix the error of the "
                "last one, then: python -m streaming retry"
            )
        if what == "busy":
            return f"another run of {self._name} is in progress: waiting for it"
        return f"waiting for the next hour to close; see {self._folder / 'status.html'}"


def _beginning(record: HourRecord) -> str:
    if record.first == record.hour:
        return f"{hour_name(record.hour)}: running"
    return f"{hour_name(record.first)} to {hour_name(record.hour)}: running"


def _ending(record: HourRecord) -> str:
    name = hour_name(record.hour)
    if record.state == FAILED:
        return f"{name}: failed after {record.seconds:.0f} s: {record.error}"
    read = record.summary.get("rows", {}).get("read", 0)
    parts = [f"{read:,} rows", *metric_texts(record.summary)[:2], release_text(record.summary)]
    return f"{name}: {', '.join(parts)} ({record.seconds:.0f} s)"
