"""The index that a writer of spans keeps beside them: which spans have rows, and how far it is.

Without it, a missing file may mean that nothing happened, that the span has not arrived, or that
somebody has removed it. The index tells the three apart:

    {"complete_ms": 1709301600000, "spans": [[474000, 474012], [474014, 474020]]}

`complete_ms` is a time, in epoch milliseconds: all rows before it are in the spans. `spans` has the
first and last span of each row of spans without a gap.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Collection, Iterable

from base.errors import ComponentError
from base.foreign_json import ForeignError, parse

MOST_BYTES = 16 << 20


@dataclasses.dataclass(frozen=True)
class SpanIndex:
    """The contents of an index.

    Attributes:
      complete_ms: Epoch milliseconds before which all rows are there; None before the first.
      spans: Spans that have rows.
    """

    complete_ms: int | None
    spans: frozenset[int]

    def to_json(self) -> dict[str, object]:
        """Returns the JSON of an index file."""
        return {"complete_ms": self.complete_ms, "spans": _ranges(self.spans)}

    @classmethod
    def of(cls, text: bytes, place: str) -> SpanIndex:
        """Reads an index.

        Args:
          text: Contents of the file.
          place: Path of the file, for errors.

        Raises:
          ComponentError: It is not an index.
        """
        try:
            found = parse(text, max_bytes=MOST_BYTES)
            complete, ranges = found["complete_ms"], found["spans"]
            spans = frozenset(span for first, last in ranges for span in range(first, last + 1))
            return cls(None if complete is None else int(complete), spans)
        except (ForeignError, KeyError, TypeError, ValueError) as error:
            raise ComponentError(
                f"{place} is no index of spans ({error}); see spark_io/sources/span_index.py"
            ) from None


def indexed_spans(
    index: SpanIndex,
    found: Collection[int],
    wanted: range,
    complete_ms: int,
    period_ms: int,
    source: str,
    describe: Callable[[int], str],
) -> list[int]:
    """Returns the wanted spans to read, oldest first; the others are known to be empty.

    Args:
      index: Index of the source.
      found: Spans that have files.
      wanted: Spans to read.
      complete_ms: Time up to which the source must be complete.
      period_ms: Length of a span.
      source: Name of the source, for errors.
      describe: Function that returns a span in readable form.

    Raises:
      ComponentError: The source is not complete yet, or files of a span are gone.
    """
    if index.complete_ms is None or index.complete_ms < complete_ms:
        late = describe(wanted[-1])
        raise ComponentError(
            f"source '{source}': {late} has not arrived completely: its index is complete up to "
            f"{_minute(index.complete_ms)}, and {_minute(complete_ms)} is needed. Wait, or choose "
            "an earlier --span; outcome.may_be_open says how much of the outcomes may be missing"
        )
    gone = [span for span in wanted if span in index.spans and span not in found]
    if gone:
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        raise ComponentError(
            f"source '{source}': the files of {describe(gone[0])}{more} are gone: its index says "
            "that there are some. Restore them"
        )
    # Files of a complete span that the index does not have are leftovers.
    is_over = {span: (span + 1) * period_ms <= index.complete_ms for span in wanted}
    return [s for s in wanted if s in found and (s in index.spans or not is_over[s])]


def _minute(epoch_ms: int | None) -> str:
    if epoch_ms is None:
        return "no time at all"
    return f"{dt.datetime.fromtimestamp(epoch_ms / 1000, dt.timezone.utc):%Y-%m-%dT%H:%M}"


def _ranges(spans: Iterable[int]) -> list[list[int]]:
    ranges: list[list[int]] = []
    for span in sorted(spans):
        if ranges and ranges[-1][1] == span - 1:
            ranges[-1][1] = span
        else:
            ranges.append([span, span])
    return ranges
