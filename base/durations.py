"""Lengths of time as text, such as 30m, 24h or 7d."""

from __future__ import annotations

import re

HOUR_MS = 3_600_000
_UNITS_MS = {"s": 1_000, "m": 60_000, "h": HOUR_MS, "d": 24 * HOUR_MS}
_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhd])")


def milliseconds(duration: str) -> int:
    """Returns the length of a duration in milliseconds.

    Args:
      duration: A whole number and a unit: s, m, h or d (24 hours).

    Raises:
      ValueError: It is not a duration.
    """
    found = _DURATION.fullmatch(duration)
    if not found:
        raise ValueError(
            f"expected a duration such as 30m, 24h or 7d. Received: {duration!r}. "
            "It is a whole number and one of s, m, h, d"
        )
    return int(found[1]) * _UNITS_MS[found[2]]
