"""Keeps and counts the lines of the request log that feedback cannot use."""

from __future__ import annotations

import json
import logging
from pathlib import Path

_log = logging.getLogger(__name__)
_MAX_BYTES = 64 << 20  # size of the file; beyond it, lines are only counted
_KEPT_LINE_BYTES = 4_096


class RequestLineError(ValueError):
    """A line of the request log is malformed; the text is one line.

    `events_of_request` raises no other error for a line, whatever is in it: any other is a fault of
    the application. `streaming feedback` keeps the line in either case. What only counts requests,
    such as the check for drift, leaves malformed ones out and stops at a fault.
    """


class RejectedLines:
    """Appends rejected lines to a file of JSON lines: log, start, reason, size and beginning.

    A line may appear twice, since a crash makes feedback read some lines again.

    Args:
      path: Path of that file.

    Attributes:
      path: Path of that file.
      count: Number of lines rejected by this process.
    """

    def __init__(self, path: Path):
        self.path, self.count = path, 0

    def keep(self, log: str, start: int, reason: str, line: bytes) -> None:
        """Appends a line that starts at byte `start` of a log."""
        self.count += 1
        _log.warning("%s, byte %d: rejected: %s; see %s", log, start, reason, self.path)
        if self.path.exists() and self.path.stat().st_size > _MAX_BYTES:
            return
        begins = line[:_KEPT_LINE_BYTES].decode("utf-8", "backslashreplace")
        kept = {"log": log, "start": start, "reason": reason, "bytes": len(line), "begins": begins}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(kept) + "\n")
