"""Declares a split by time: training before a cut, evaluation after it, as the model is used.

A second cut adds a third split, so that the final test uses neither training data nor the data that
stopped the training.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from base.errors import ComponentError
from spark_io.sources.spans import HOUR_US

if TYPE_CHECKING:  # its module imports Spark, which reading a config must not
    from spark_io.connectors.connector import SourceInput

_NAMES = ("train", "eval", "test")
_DURATION = re.compile(r"-(\d+)([dhm])")
_UNIT_US = {"d": 24 * HOUR_US, "h": HOUR_US, "m": HOUR_US // 60}


@dataclasses.dataclass(frozen=True)
class TimeCut:
    """A split of examples by time.

    Attributes:
      column: Column of the ETL's result with a row's time: timestamp, date, or a whole number since
        1970.
      at: Start of the second split, and of each further one, in ISO 8601 (UTC without a zone) or
        relative to the end of the window: '-6h', '-1d', '-30m'.
      unit: Unit of a whole number: s, ms or us.
      splits: Names of the splits, one more than cuts; by default train, eval and, with two cuts,
        test.
    """

    column: str
    at: str | Sequence[str]
    unit: str = "us"
    splits: Sequence[str] = ()

    def __post_init__(self) -> None:
        cuts = (self.at,) if isinstance(self.at, str) else tuple(self.at)
        splits = tuple(self.splits) or _NAMES[: len(cuts) + 1]
        object.__setattr__(self, "at", cuts)
        object.__setattr__(self, "splits", splits)
        if self.unit not in ("s", "ms", "us"):
            raise ValueError(f"unit must be s, ms or us. Received: {self.unit!r}")
        if not cuts or len(set(splits)) != len(cuts) + 1:
            raise ValueError(
                f"{len(cuts)} cuts in time need {len(cuts) + 1} splits with different names. "
                f"Received: {list(splits)}"
            )
        for cut in cuts:
            if not _DURATION.fullmatch(cut):
                _timestamp_us(cut)


def cuts_us(cuts: Sequence[str], primary: SourceInput) -> tuple[int, ...]:
    """Returns the cuts in microseconds since 1970 UTC.

    Args:
      cuts: Cuts as in `TimeCut.at`.
      primary: Input of the primary source; relative cuts count from the end of its window.

    Raises:
      ComponentError: The cuts do not ascend, or one is relative and the primary source has no days
        or hours.
    """
    times = tuple(_cut_us(cut, primary) for cut in cuts)
    for (earlier, later), names in zip(pairwise(times), pairwise(cuts), strict=True):
        if later <= earlier:
            raise ComponentError(
                f"the split by time is cut at {names[0]} and then at {names[1]}, "
                "which is not later; list the cuts in ascending order"
            )
    return times


def _cut_us(at: str, primary: SourceInput) -> int:
    relative = _DURATION.fullmatch(at)
    if relative is None:
        return _timestamp_us(at)
    if primary.hourly is None:
        raise ComponentError(
            f"the split by time is cut at {at} from the window's end, but the primary source has "
            "no days or hours; give a date and time instead"
        )
    period = HOUR_US if primary.hourly else 24 * HOUR_US
    end = (primary.spans[-1] + 1) * period
    return end - int(relative[1]) * _UNIT_US[relative[2]]


def _timestamp_us(text: str) -> int:
    try:
        time = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise ValueError(
            f"a cut must be like 2024-03-02T18:00, or -6h for the window's last 6 hours. "
            f"Received: {text!r}"
        ) from None
    if time.tzinfo is None:
        time = time.replace(tzinfo=dt.timezone.utc)
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
    return (time - epoch) // dt.timedelta(microseconds=1)
