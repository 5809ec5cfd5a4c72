"""Peak memory of this process and all its children."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import psutil

_PERIOD_S = 0.5


class PeakMemory:
    """`mib`: the largest sum of resident memory so far (shared pages count each time)."""

    def __init__(self) -> None:
        self.mib = 0

    def measure(self) -> None:
        process = psutil.Process()
        total = 0
        for member in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):  # it has just ended
                total += member.memory_info().rss
        self.mib = max(self.mib, total >> 20)


@contextlib.contextmanager
def peak_memory() -> Iterator[PeakMemory]:
    """Samples every half second while it lasts."""
    peak, done = PeakMemory(), threading.Event()

    def sample() -> None:
        while not done.wait(_PERIOD_S):
            peak.measure()

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
