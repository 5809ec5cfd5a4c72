"""A split by time: training before a cut, evaluation from it on, as the model will be used.

With two cuts there is a third split behind them: what a model is judged on is then neither what it
learned from nor what training was stopped by.
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

if TYPE_CHECKING:  # it imports Spark, and a config is read without
    from spark_io.connectors.connector import SourceInput

_NAMES = ("train", "eval", "test")
_DURATION = re.compile(r"-(\d+)([dhm])")
_UNIT_US = {"d": 24 * HOUR_US, "h": HOUR_US, "m": HOUR_US // 60}


@dataclasses.dataclass(frozen=True)
class TimeCut:
    """Attributes:
    column: of the ETL's result, with a row's time: timestamp, date, or a whole number since 1970.
    at: the first moment of the second split, and of each further one: ISO 8601 (UTC where it names
      no zone), or relative to the end of the window: '-6h', '-1d', '-30m'.
    unit: of a whole number: s, ms or us.
    splits: their names, one more than cuts; default: train, eval, and test behind a second cut.
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
            raise ValueError(f"unit '{self.unit}' is none of s, ms, us")
        if not cuts or len(set(splits)) != len(cuts) + 1:
            raise ValueError(
                f"{len(cuts)} cuts in time make {len(cuts) + 1} splits, with different names, not "
                f"{list(splits)}"
            )
        for cut in cuts:
            if not _DURATION.fullmatch(cut):
                _moment_us(cut)


def cuts_us(cuts: Sequence[str], primary: SourceInput) -> tuple[int, ...]:
    """The cuts in microseconds since 1970 UTC.

    Args:
      cuts: TimeCut.at.
      primary: its window decides what a relative cut means.

    Raises:
      ComponentError: they do not ascend; or one is relative, and the primary source has no days or
        hours.
    """
    moments = tuple(_cut_us(cut, primary) for cut in cuts)
    for (earlier, later), names in zip(pairwise(moments), pairwise(cuts), strict=True):
        if later <= earlier:
            raise ComponentError(
                f"the split by time is cut at {names[0]} and then at {names[1]}, "
                "which is no later; give the cuts in the order of time"
            )
    return moments


def _cut_us(at: str, primary: SourceInput) -> int:
    relative = _DURATION.fullmatch(at)
    if relative is None:
        return _moment_us(at)
    if primary.hourly is None:
        raise ComponentError(
            f"the split by time is cut at {at} from the window's end, but the primary source has "
            "no days or hours; give a date and time instead"
        )
    period = HOUR_US if primary.hourly else 24 * HOUR_US
    end = (primary.spans[-1] + 1) * period
    return end - int(relative[1]) * _UNIT_US[relative[2]]


def _moment_us(text: str) -> int:
    try:
        moment = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise ValueError(
            f"'{text}' is no moment: write 2024-03-02T18:00, or -6h for the window's last 6 hours"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.timezone.utc)
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
    return (moment - epoch) // dt.timedelta(microseconds=1)
