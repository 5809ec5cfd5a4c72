"""Peak memory of this process and all its children."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import psutil

from local_run.launches import Launch

_PERIOD_S = 0.5


class PeakMemory:
    """The largest sum of resident memory so far; shared pages count each time.

    Attributes:
      mib: in all.
      of: component -> MiB while it ran, whatever the processes held before.
    """

    def __init__(self) -> None:
        self.mib = 0
        self.of: dict[str, int] = {}
        self._running: set[str] = set()

    def report(self, launch: Launch) -> None:
        """A component begins or ends."""
        self._running.add(launch.component)
        self.measure()
        if launch.state != "running":
            self._running.discard(launch.component)

    def measure(self) -> None:
        process = psutil.Process()
        total = 0
        for member in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):  # it has just ended
                total += member.memory_info().rss
        self.mib = max(self.mib, total >> 20)
        for component in [*self._running]:
            self.of[component] = max(self.of.get(component, 0), total >> 20)


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
