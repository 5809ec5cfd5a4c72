"""What `streaming run` says, and the page it keeps."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.status import Status
from rich.text import Text

from streaming.layout import hour_name
from streaming.operation.operate import Operation
from streaming.operation.overview import overview, release_text, write_page
from streaming.operation.records import FAILED, HourRecord


class OperationScreen:
    """A line for each run; while one is in progress, what it does.

    Args:
      console: where to.
      name: of the pipeline.
      folder: the config's `streaming.folder`, for the page.
      most_failures: as of Operation.
    """

    def __init__(self, console: Console, name: str, folder: Path, most_failures: int):
        self._console, self._name, self._folder = console, name, folder
        self._most_failures = most_failures
        self._status = Status("", console=console)
        self._operation: Operation | None = None

    def watch(self, operation: Operation) -> None:
        """Whose runs the page shows; it is made with this screen's `report`."""
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
        """See operate.Report."""
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
        with contextlib.suppress(OSError):  # a page is worth no run
            done = self._operation.finished if self._operation else set()
            found = overview(self._folder, done, self._most_failures)
            write_page(self._folder, found, self._name)

    def _text(self, what: str, content: Any) -> str:
        if what == "ended":
            return _ending(content)
        if what == "person":
            return (
                f"{content} runs in a row have failed: waiting for a person. Mend what the last "
                "one says, then: python -m streaming retry"
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
    rows, metrics = record.summary.get("rows", {}), record.summary.get("metrics", {})
    parts = [f"{rows.get('read', 0):,} rows"]
    shown = {"AUC": metrics.get("auc"), "log loss": metrics.get("log_loss")}
    parts += [f"{label} {value:.4f}" for label, value in shown.items() if value is not None]
    parts.append(release_text(record.summary))
    return f"{name}: {', '.join(parts)} ({record.seconds:.0f} s)"
