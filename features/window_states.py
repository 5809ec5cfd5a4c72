"""States of the windows of many entities, as arrays: what serving makes columns of."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.parts import Ends, Moments, Part


@dataclasses.dataclass(frozen=True)
class WindowStates:
    """The states of one part, in arrays of one shape.

    Attributes:
      values: The number of a Number or Events, and the estimate of a Sketch. Moments have count,
        mean and squares in a last dimension of their own. Ends have objects: lists of entries,
        each with the time and the values of the columns. It may be anything where `known` is False.
      known: Whether any event counts.
    """

    values: NDArray[Any]
    known: NDArray[np.bool_]

    def at(self, windows: list[int]) -> WindowStates:
        """Returns the states of some windows, whose numbers are the second dimension."""
        if windows == [*range(self.known.shape[1])]:
            return self
        return WindowStates(self.values[:, windows], self.known[:, windows])

    @classmethod
    def without_events(cls, part: Part) -> WindowStates:
        """Returns the state of a single window without events."""
        shape = (1, 3) if isinstance(part, Moments) else (1,)
        kind = object if isinstance(part, Ends) else np.float64
        return cls(np.zeros(shape, kind), np.zeros(1, bool))
