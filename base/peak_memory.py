"""Measures the peak memory of this process and its children."""

from __future__ import annotations

import contextlib

import psutil

from base.repeating import repeated

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


def sampled(peak: PeakMemory) -> contextlib.AbstractContextManager[None]:
    """Measures every half second until the end of the block."""
    return repeated(peak.measure, _PERIOD_S)
