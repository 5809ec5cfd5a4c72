"""Times, durations and sizes as people read them, on the screen and in pages."""

from __future__ import annotations

import datetime as dt

NOT_RECORDED = "not recorded"


def when(time: dt.datetime) -> str:
    """In the reader's own time zone; the epoch is what a store has that records no time."""
    if not time.timestamp():
        return NOT_RECORDED
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration(seconds: float) -> str:
    return f"{seconds:,.1f} s"


def size(count: int) -> str:
    """Bytes, in the unit that fits."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:,.0f} B" if unit == "B" else f"{amount:,.1f} {unit}"
        amount /= 1000
    return f"{amount:,.1f} TB"
