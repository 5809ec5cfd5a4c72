"""Keeps log lines from being forged and from filling the disk."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from base.console import visible
from base.redaction import redacted

_SECONDS, _MAX_LINES = 10.0, 20  # the limit for each place in the code


class OneLineFormatter(logging.Formatter):
    """Formats a record as one line, followed by an indented traceback.

    Text from a client cannot start a line that looks like a record. Secrets are removed.
    """

    def __init__(self, wanted: str = "%(asctime)s %(levelname)s %(message)s") -> None:
        super().__init__(wanted)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return visible(redacted(super().formatMessage(record))).replace("\n", "\\n")

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's name
        text = visible(redacted(super().formatException(ei)))  # type: ignore[arg-type]
        return "  " + text.replace("\n", "\n  ")


class RateLimit(logging.Filter):
    """Passes 20 records per place in the code and 10 seconds, and counts those it drops.

    Args:
      clock: Clock in seconds; tests replace it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, int], tuple[float, int]] = {}  # place -> since, lines

    def filter(self, record: logging.LogRecord) -> bool:
        place, now = (record.pathname, record.lineno), self._clock()
        with self._lock:
            since, lines = self._counts.get(place, (now, 0))
            left_out = 0
            if now - since >= _SECONDS:
                left_out = max(0, lines - _MAX_LINES)
                since, lines = now, 0
            self._counts[place] = (since, lines + 1)
        if left_out:
            record.msg = f"{record.msg} (%s such lines before were left out)"
            known = record.args if isinstance(record.args, tuple) else ()
            record.args = (*known, f"{left_out:,}")
        return lines < _MAX_LINES
