"""What became of each hour's run: a small file an hour, which any process may read."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from streaming.layout import HourFiles

RUNNING, COMPLETE, FAILED, RETRY = "running", "complete", "failed", "retry"


@dataclasses.dataclass(frozen=True)
class HourRecord:
    """The last try of an hour.

    Attributes:
      hour: since 1970, the last one that the run read.
      first: the first one that it read.
      state: running (also where its process died), complete, failed, or retry: a person asked for
        it.
      started_at: ISO time, UTC.
      seconds: how long it took.
      closed_at: when the hour was closed.
      run_id: of the pipeline's run, if it came to be one.
      error: one line.
      summary: of run_summary.json, what is shown: rows, metrics, blessed, pushed_model.
    """

    hour: int
    first: int
    state: str
    started_at: str
    seconds: float | None = None
    closed_at: str | None = None
    run_id: str | None = None
    error: str | None = None
    summary: dict[str, Any] = dataclasses.field(default_factory=dict)


class Records:
    """All of them.

    Args:
      folder: the config's `streaming.folder`.
    """

    def __init__(self, folder: Path):
        self.folder = folder / "operation"
        self._files = HourFiles(self.folder)

    def read(self) -> dict[int, HourRecord]:
        """Hour -> its record, oldest first."""
        return {hour: HourRecord(**content) for hour, content in self._files.read().items()}

    def write(self, record: HourRecord) -> None:
        self._files.write(record.hour, dataclasses.asdict(record))

    def ask_again(self, hour: int) -> None:
        """Has the next run read from an hour on; if none has come so far, it will anyway."""
        records = self.read()
        if hour in records:
            self.write(dataclasses.replace(records[hour], state=RETRY))
        elif records and hour < max(records):
            self.write(HourRecord(hour, hour, RETRY, ""))

    def log(self, hour: int) -> Path:
        """What the hour's run printed."""
        return self._files.path(hour).with_suffix(".log")

    @property
    def libraries(self) -> Path:
        """What libraries printed when they were loaded for all runs."""
        return self.folder / "libraries.log"


def failures_in_a_row(records: dict[int, HourRecord]) -> int:
    """Of the last runs, by when they were started."""
    ended = [r for r in records.values() if r.state in (COMPLETE, FAILED)]
    count = 0
    for record in sorted(ended, key=lambda r: r.started_at, reverse=True):
        if record.state == COMPLETE:
            break
        count += 1
    return count
