"""Records of runs: one small file per hour, which any process may read."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from streaming.layout import HourFiles

RUNNING, COMPLETE, FAILED, RETRY = "running", "complete", "failed", "retry"


@dataclasses.dataclass(frozen=True)
class HourRecord:
    """The last run of an hour.

    Attributes:
      hour: Last hour that the run read, in hours since 1970.
      first: First hour that the run read.
      state: `running` (also if its process died), `complete`, `failed`, or `retry` (requested).
      started_at: ISO time, UTC.
      seconds: Duration of the run.
      closed_at: ISO time at which the hour was closed.
      run_id: Id of the pipeline run, if it was created.
      error: Error in one line.
      summary: Shown entries of run_summary.json, such as rows, metrics, blessed and pushed_model.
      requests: Number of retries that were requested, by which a run notices one that was
        requested meanwhile.
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
    requests: int = 0


class HourRecords:
    """The records of all hours.

    Args:
      folder: The config's `streaming.folder`.
    """

    def __init__(self, folder: Path):
        self.folder = folder / "operation"
        self._files = HourFiles(self.folder)

    def read(self) -> dict[int, HourRecord]:
        """Returns hour -> its record, oldest first."""
        return {hour: HourRecord(**content) for hour, content in self._files.read().items()}

    def write(self, record: HourRecord) -> None:
        self._files.write(record.hour, dataclasses.asdict(record))

    def request_retry(self, hour: int) -> None:
        """Makes the next run read from an hour on; does nothing if no run has reached it yet."""
        records = self.read()
        if hour in records:
            requests = records[hour].requests + 1
            self.write(dataclasses.replace(records[hour], state=RETRY, requests=requests))
        elif records and hour < max(records):
            self.write(HourRecord(hour, hour, RETRY, "", requests=1))

    def log(self, hour: int) -> Path:
        """Returns the path of the output of the hour's run."""
        return self._files.path(hour).with_suffix(".log")

    @property
    def libraries(self) -> Path:
        """Path of what libraries printed when they were loaded for all runs."""
        return self.folder / "libraries.log"


def failures_in_a_row(records: dict[int, HourRecord]) -> int:
    """Returns how many of the last runs have failed without a complete one in between."""
    ended = [r for r in records.values() if r.state in (COMPLETE, FAILED)]
    count = 0
    for record in sorted(ended, key=lambda r: r.started_at, reverse=True):
        if record.state == COMPLETE:
            break
        count += 1
    return count
