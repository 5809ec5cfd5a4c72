"""Tells when a component starts and ends, whichever local runner launches it."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from unittest import mock


@dataclasses.dataclass(frozen=True)
class Launch:
    """Attributes:
    component: node id.
    state: 'running', 'complete', 'cached' or 'failed'.
    seconds: since it started.
    error: what was raised, when failed.
    """

    component: str
    state: str
    seconds: float = 0.0
    error: BaseException | None = None


@contextlib.contextmanager
def observed(report: Callable[[Launch], None]) -> Iterator[None]:
    """Within it, every launch of a component is reported.

    Both BeamDagRunner and LocalDagRunner create a Launcher for each node and call `launch()`;
    neither has a hook of its own, so that method is wrapped while the run lasts.
    """
    from tfx.orchestration.portable import launcher  # seconds to import

    original = launcher.Launcher.launch

    def launch(self: launcher.Launcher):  # type: ignore[no-untyped-def]
        component = self._pipeline_node.node_info.id  # private, and the only place with the name
        started = time.monotonic()
        report(Launch(component, "running"))
        try:
            info = original(self)
        except BaseException as error:
            report(Launch(component, "failed", time.monotonic() - started, error))
            raise
        # A node answered from the cache is given no temporary folder; system nodes never are.
        cached = info is not None and not info.tmp_dir and self._executor_operator is not None
        state = "cached" if cached else "complete"
        report(Launch(component, state, time.monotonic() - started))
        return info

    with mock.patch.object(launcher.Launcher, "launch", launch):
        yield
