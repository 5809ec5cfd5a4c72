"""Reads the last lines of each component from a run's log."""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path

_STARTS = re.compile(r"node (\S+) is running\.$")
_ENDS = re.compile(r"node (\S+) is finished\.$")
_LINES, _LONGEST = 30, 500


def log_tails(path: Path) -> dict[str, str]:
    """Returns component -> its last lines; empty if there is no log."""
    found: dict[str, deque[str]] = {}
    current: str | None = None
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                line = line.rstrip()
                if start := _STARTS.search(line):
                    current = start.group(1)
                    found.setdefault(current, deque(maxlen=_LINES))
                elif _ENDS.search(line):
                    current = None
                elif current and line:
                    found[current].append(line[:_LONGEST])
    except OSError:
        return {}
    return {component: "\n".join(lines) for component, lines in found.items()}
