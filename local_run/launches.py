"""The report about a component while a pipeline runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Launch:
    """The start or end of one component.

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
