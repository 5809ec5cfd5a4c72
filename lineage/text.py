"""Formats times, durations and sizes for the screen and for pages, and reads numbers in texts."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

NOT_RECORDED = "not recorded"


def when(time: dt.datetime) -> str:
    """Formats a time in the local time zone; a store without times has the epoch."""
    if not time.timestamp():
        return NOT_RECORDED
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration(seconds: float) -> str:
    return f"{seconds:,.1f} s"


def number_in(value: Any) -> float | None:
    """Returns the finite number in a property that may be a text; None if there is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def size(count: int) -> str:
    """Formats bytes in the unit that fits."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:,.0f} B" if unit == "B" else f"{amount:,.1f} {unit}"
        amount /= 1000
    return f"{amount:,.1f} TB"
