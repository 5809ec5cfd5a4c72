"""Formats times, durations and sizes for the screen and for pages."""

from __future__ import annotations

import datetime as dt

NOT_RECORDED = "not recorded"


def when(time: dt.datetime) -> str:
    """Formats a time in the local time zone; a store without times has the epoch."""
    if not time.timestamp():
        return NOT_RECORDED
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration(seconds: float) -> str:
    return f"{seconds:,.1f} s"


def size(count: int) -> str:
    """Formats bytes in the unit that fits."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:,.0f} B" if unit == "B" else f"{amount:,.1f} {unit}"
        amount /= 1000
    return f"{amount:,.1f} TB"
