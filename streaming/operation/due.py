"""Chooses the hours of the next run by what is closed, what is done, and what failed."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from streaming.operation.records import FAILED, RETRY, HourRecord


@dataclasses.dataclass(frozen=True)
class DueRun:
    """A run to start.

    Attributes:
      first, last: First and last hour that the run reads. The run's span is the last one.
    """

    first: int
    last: int

    @property
    def window(self) -> int:
        return self.last - self.first + 1


def waiting(
    closed: Collection[int], done: Collection[int], records: Mapping[int, HourRecord]
) -> list[int]:
    """Returns the closed hours without a run, oldest first.

    Args:
      closed: Closed hours with events.
      done: Spans with a complete run in ML Metadata.
      records: Hour -> record of its run.
    """
    newest = max(done, default=None)
    failed = {hour for hour, record in records.items() if record.state in (FAILED, RETRY)}
    return [
        hour
        for hour in sorted(closed)
        if (newest is None or hour > newest) and hour not in failed and hour not in done
    ]


def next_run(
    closed: Collection[int],
    done: Collection[int],
    records: Mapping[int, HourRecord],
    first_window: int,
) -> DueRun | None:
    """Returns the next run, which reads one new hour; None if no run is due.

    The first run of all reads a window, so that the first model is useful. An hour to be retried is
    read together with all later hours, because a model of old data alone would replace a newer one.

    Args:
      closed: Closed hours with events.
      done: Spans with a complete run in ML Metadata.
      records: Hour -> record of its run.
      first_window: Maximum number of hours that the first run reads.
    """
    hours = waiting(closed, done, records)
    again = [hour for hour, record in records.items() if record.state == RETRY]
    if not done and hours:
        some = hours[:first_window]
        return DueRun(min(some + again), some[-1])
    if hours:
        return DueRun(min([hours[0], *again]), hours[0])
    if again:
        return DueRun(min(again), max([*again, *done]))
    return None
