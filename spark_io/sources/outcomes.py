"""Outcomes: events that tell later what became of other events, such as returns of orders."""

from __future__ import annotations

import dataclasses

from base.durations import milliseconds


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Says which events a source's rows belong to, and how much later they may come.

    This is the only place that says so: the spans to read, the time at which labels are complete,
    and the ETL's join (`context.outcomes`) follow from it.

    Attributes:
      of: Source or stream of the events.
      by: Column with the id of the event.
      within: Longest time from an event to its outcome, such as 30m or 45d. A later one does not
        count, nor does one before its event.
      may_be_open: How much of `within` may still lie ahead when a run reads the events; 0s if every
        outcome must have had its time. With 30d of 45d, labels are those of the first 15 days.

    Raises:
      ValueError: A duration is not one, or more may be open than there is.
    """

    of: str
    by: str
    within: str
    may_be_open: str = "0s"

    def __post_init__(self) -> None:
        for name in ("of", "by"):
            if not getattr(self, name):
                raise ValueError(f"outcome.{name} must not be empty")
        for name in ("within", "may_be_open"):
            try:
                self._ms(name)
            except ValueError as error:
                raise ValueError(f"outcome.{name}: {error}") from None
        if self.open_ms > self.within_ms:
            raise ValueError(
                f"outcome.may_be_open: expected at most `within`, {self.within}. "
                f"Received: {self.may_be_open}"
            )

    def _ms(self, name: str) -> int:
        duration = getattr(self, name)
        return 0 if name == "may_be_open" and duration == "0s" else milliseconds(duration)

    @property
    def within_ms(self) -> int:
        return self._ms("within")

    @property
    def open_ms(self) -> int:
        return self._ms("may_be_open")

    @property
    def waits_ms(self) -> int:
        """Time after an event at which a run may read it."""
        return self.within_ms - self.open_ms
