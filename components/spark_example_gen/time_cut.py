"""A split by time: training before a cut, evaluation from it on, as the model will be used."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re

from components.errors import ComponentError
from components.spark_example_gen.connectors.found import Found
from components.spark_example_gen.spans import HOUR_US

_DURATION = re.compile(r"-(\d+)([dhm])")
_UNIT_US = {"d": 24 * HOUR_US, "h": HOUR_US, "m": HOUR_US // 60}


@dataclasses.dataclass(frozen=True)
class TimeCut:
    """Attributes:
    column: of the ETL's result, with a row's time: timestamp, date, or a whole number since 1970.
    at: the first moment of the second split: ISO 8601 (UTC where it names no zone), or relative to
      the end of the window: '-6h', '-1d', '-30m'.
    unit: of a whole number: s, ms or us.
    splits: names, before and after.
    """

    column: str
    at: str
    unit: str = "us"
    splits: tuple[str, str] = ("train", "eval")

    def __post_init__(self) -> None:
        if self.unit not in ("s", "ms", "us"):
            raise ValueError(f"unit '{self.unit}' is none of s, ms, us")
        if len(set(self.splits)) != 2:
            raise ValueError("a split by time has two splits, with different names")
        if not _DURATION.fullmatch(self.at):
            _moment_us(self.at)


def cut_us(at: str, primary: Found) -> int:
    """The cut in microseconds since 1970 UTC.

    Args:
      at: see TimeCut.
      primary: its window decides what a relative cut means.

    Raises:
      ComponentError: a relative cut, and the primary source has no days or hours.
    """
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
