"""Measures the peak memory of this process and its children."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import psutil

_PERIOD_S = 0.5


class PeakMemory:
    """The largest sum of resident memory so far, in MiB; shared pages count in every process."""

    def __init__(self) -> None:
        self.mib = 0

    def measure(self) -> int:
        """Returns the current sum, in MiB."""
        process = psutil.Process()
        total = 0
        for member in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):  # it has just ended
                total += member.memory_info().rss
        self.mib = max(self.mib, total >> 20)
        return total >> 20


@contextlib.contextmanager
def sampled(peak: PeakMemory) -> Iterator[None]:
    """Measures every half second until the end of the block."""
    done = threading.Event()

    def sample() -> None:
        while not done.wait(_PERIOD_S):
            peak.measure()

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
