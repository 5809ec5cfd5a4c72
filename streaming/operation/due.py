"""Which hours the next run reads: a function of what is closed, what is done, and what failed."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from streaming.operation.records import FAILED, RETRY, HourRecord


@dataclasses.dataclass(frozen=True)
class Due:
    """Attributes:
    first, last: the hours that the run reads, both included; the run's span is the last one.
    """

    first: int
    last: int

    @property
    def window(self) -> int:
        return self.last - self.first + 1


def waiting(
    closed: Collection[int], done: Collection[int], records: Mapping[int, HourRecord]
) -> list[int]:
    """Closed hours that no run has come to, oldest first.

    Args:
      closed: hours with impressions.
      done: spans that ML Metadata has a complete run of.
      records: of all runs.
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
) -> Due | None:
    """The next run, one new hour; None if nothing is due.

    The very first one reads a window, so that the first model is of some use. An hour that a person
    wants tried again is read by the next run together with all that came after it: a model of old
    data alone would take the place of a newer one.

    Args:
      closed: as of `waiting`.
      done: as there.
      records: as there.
      first_window: hours of the very first run, as far as they are closed.
    """
    hours = waiting(closed, done, records)
    again = [hour for hour, record in records.items() if record.state == RETRY]
    if not done and hours:
        some = hours[:first_window]
        return Due(min(some + again), some[-1])
    if hours:
        return Due(min([hours[0], *again]), hours[0])
    if again:
        return Due(min(again), max([*again, *done]))
    return None
