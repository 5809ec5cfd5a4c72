"""Divides examples into 64 practically random blocks, whose differences give intervals.

The sums of all blocks give the exact metrics. The metrics without one block at a time give the
intervals, by the delete-a-group jackknife (Kott, "The Delete-a-Group Jackknife" (2001)). Memory
does not grow with the data.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCKS = 64
MIN_EXAMPLES = 10 * BLOCKS  # for an interval
_LEVEL = 1.96  # standard deviations of a normal distribution that cover 95 %


def blocks_of(predictions: NDArray[Any]) -> NDArray[np.int64]:
    """Returns the block of each example, [rows], equally many in each even if each call has few.

    Args:
      predictions: Predictions, [rows, ...], which make the first block random.
    """
    first = zlib.crc32(np.ascontiguousarray(predictions).tobytes())
    return (first + np.arange(len(predictions))) % BLOCKS


def jackknife(
    value: float, without: Sequence[float], least: float, most: float
) -> tuple[float, float]:
    """Returns the bounds of a metric's 95 % interval; NaN if a value is.

    Args:
      value: Metric on all examples.
      without: Metric without each block.
      least: Smallest possible value.
      most: Largest possible value.
    """
    found = np.array(without)
    variance = (BLOCKS - 1) / BLOCKS * np.square(found - found.mean()).sum()
    half = _LEVEL * math.sqrt(variance)
    return max(value - half, least), min(value + half, most)
