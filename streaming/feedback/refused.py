"""Lines of the request log that feedback cannot use: kept with the reason, and counted."""

from __future__ import annotations

import json
import logging
from pathlib import Path

_log = logging.getLogger(__name__)
_MOST_BYTES = 64 << 20  # of the file; then lines are counted only
_MOST_OF_A_LINE = 4_096


class RequestLineError(ValueError):
    """A line of the request log that no events can be made of; the text is one line."""


class Refused:
    """Keeps them in a file of JSON lines: log, where the line begins, reason and the beginning.

    A line may be there twice: what was not remembered before a crash is read again.

    Args:
      path: of that file.

    Attributes:
      path: of that file.
      count: lines refused by this process.
    """

    def __init__(self, path: Path):
        self.path, self.count = path, 0

    def keep(self, log: str, start: int, reason: str, line: bytes) -> None:
        self.count += 1
        _log.warning("%s, byte %d: left out: %s; see %s", log, start, reason, self.path)
        if self.path.exists() and self.path.stat().st_size > _MOST_BYTES:
            return
        begins = line[:_MOST_OF_A_LINE].decode("utf-8", "backslashreplace")
        kept = {"log": log, "start": start, "reason": reason, "bytes": len(line), "begins": begins}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(kept) + "\n")
