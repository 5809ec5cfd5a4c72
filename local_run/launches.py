"""What is reported of a component while a pipeline runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Launch:
    """One component, at its start or at its end.

    Attributes:
      component: Node id.
      state: 'running', 'complete', 'cached' or 'failed'.
      seconds: Time since it started.
      error: The exception that ended it, when failed.
    """

    component: str
    state: str
    seconds: float = 0.0
    error: BaseException | None = None


ReportLaunch = Callable[[Launch], None]
