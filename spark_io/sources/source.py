"""The base of all kinds of sources: what a source of any kind says about its spans and outcomes."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

from base.secrets import names_secret, secret_in
from spark_io.sources.outcomes import Outcome
from spark_io.sources.spans import Around


@dataclasses.dataclass(frozen=True)
class Source:
    """The base of every kind of source.

    `columns` (column -> Spark SQL type) is required if the data has no types (json, csv, tfrecord,
    Kafka). Elsewhere it is optional, is checked, and selects columns. A column that is null in
    every row is an error, unless `may_be_null` names it.

    Attributes:
      may_be_null: Columns that may be null in every row, such as the time of an outcome.
      options: Options of Spark's reader, as strings. Not for secrets.
      spans_after: Number of spans after the window to read as well, for events that follow the last
        span's rows. Not for the primary source.
      outcome: Says that the rows are outcomes of another source's rows. The spans after the window
        follow from it.
      missing_spans: 'error' or 'allow', for spans that are missing in the window or beside it.
    """

    kind: ClassVar[str]
    options: Mapping[str, str] = dataclasses.field(default_factory=dict, kw_only=True)
    spans_after: int = dataclasses.field(default=0, kw_only=True)
    outcome: Outcome | None = dataclasses.field(default=None, kw_only=True)
    missing_spans: str = dataclasses.field(default="error", kw_only=True)
    may_be_null: Sequence[str] = dataclasses.field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.outcome, Mapping):  # from JSON
            object.__setattr__(self, "outcome", Outcome(**self.outcome))
        if self.missing_spans not in ("error", "allow"):
            raise ValueError(
                f"missing_spans must be 'error' or 'allow'. Received: {self.missing_spans!r}"
            )
        if self.spans_after < 0:
            raise ValueError(f"spans_after must be 0 or more. Received: {self.spans_after}")
        for option, value in self.options.items():
            if names_secret(option) or secret_in(option, value):
                raise ValueError(
                    f"option '{option}' holds a secret; put its value in an environment variable "
                    "and name the variable (options_env, password_env)"
                )
        if self.outcome is not None:
            self._check_outcome(self.outcome)

    def _check_outcome(self, outcome: Outcome) -> None:
        columns: Mapping[str, str] = getattr(self, "columns", {})
        if columns and outcome.by not in columns:
            raise ValueError(
                f"outcome.by: expected one of the columns {', '.join(columns)}. "
                f"Received: {outcome.by}"
            )
        if self.spans_after and self.period_ms is not None:
            raise ValueError(
                "spans_after follows from outcome.within; leave it out, so that it is stated once"
            )

    @property
    def period_ms(self) -> int | None:
        """Length of a span in milliseconds; None without spans, or for numbered ones."""
        return None

    @property
    def around(self) -> Around:
        """The spans that are read beside the window."""
        after, still_open, waits_ms = self.spans_after, 0, 0
        if self.outcome is not None and (period := self.period_ms) is not None:
            after = -(-self.outcome.within_ms // period)
            still_open = self.outcome.open_ms // period
            waits_ms = self.outcome.waits_ms
        return Around(0, after, still_open, self.missing_spans, waits_ms)

    def complete_ms(self, last: int, present: Collection[int], known: int | None) -> int | None:
        """Returns the time up to which the rows are complete for a window, in epoch milliseconds.

        That is at most the end of the time of the last span's outcomes.

        Args:
          last: Last span of the window.
          present: Spans that are read.
          known: What the source's index says, if it has one.
        """
        period = self.period_ms
        if period is None:
            return None
        known = (max(present, default=last) + 1) * period if known is None else known
        within = self.outcome.within_ms if self.outcome is not None else 0
        return min(known, (last + 1) * period + within)
