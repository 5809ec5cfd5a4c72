"""Log lines that nobody can forge, and that do not fill a disk."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from base.console import visible
from base.redaction import redacted

_SECONDS, _MOST = 10.0, 20  # so many lines of one place in so many seconds


class OneLineFormatter(logging.Formatter):
    """A record is one line; the trace of an exception follows, indented.

    What a client sent may be in either. It cannot begin a line of its own that looks like a record.
    Secrets are in neither.
    """

    def __init__(self, wanted: str = "%(asctime)s %(levelname)s %(message)s") -> None:
        super().__init__(wanted)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return visible(redacted(super().formatMessage(record))).replace("\n", "\\n")

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's name
        text = visible(redacted(super().formatException(ei)))  # type: ignore[arg-type]
        return "  " + text.replace("\n", "\n  ")


class RateLimit(logging.Filter):
    """Lets 20 lines of one place in the code through in 10 seconds, and says how many it left out.

    Args:
      clock: Stands in for time.monotonic, in tests.
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
                left_out = max(0, lines - _MOST)
                since, lines = now, 0
            self._counts[place] = (since, lines + 1)
        if left_out:
            record.msg = f"{record.msg} (%s such lines before were left out)"
            known = record.args if isinstance(record.args, tuple) else ()
            record.args = (*known, f"{left_out:,}")
        return lines < _MOST
