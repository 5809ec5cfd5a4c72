"""Measures the peak memory of the run, and of each component while it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from base.peak_memory import PeakMemory, sampled
from local_run.launches import Launch


class ComponentMemory(PeakMemory):
    """The largest sum of resident memory so far.

    Attributes:
      by_component: Component -> peak in MiB while it ran, with memory that was held before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.by_component: dict[str, int] = {}
        self._running: set[str] = set()

    def report(self, launch: Launch) -> None:
        """Takes note that a component began or ended."""
        self._running.add(launch.component)
        self.measure()
        if launch.state != "running":
            self._running.discard(launch.component)

    def measure(self) -> int:
        total = super().measure()
        for component in [*self._running]:
            self.by_component[component] = max(self.by_component.get(component, 0), total)
        return total


@contextlib.contextmanager
def peak_memory() -> Iterator[ComponentMemory]:
    """Samples memory every half second until the block ends."""
    peak = ComponentMemory()
    with sampled(peak):
        yield peak
