"""How far event time has come: a function of what batches have read, and of nothing else."""

from __future__ import annotations

from collections.abc import Mapping

HOUR_MS = 3_600_000


def advanced(
    watermark_ms: int | None, newest_ms: Mapping[str, int], lateness_ms: int
) -> int | None:
    """The watermark after a batch.

    Of the partitions that the batch has read, the one that is furthest behind decides: one that
    catches up is waited for, one on which nothing happens is not. A partition with nothing but late
    events does not hold the others up: what it says is before the watermark anyway.

    Args:
      watermark_ms: before the batch; None at the very start.
      newest_ms: partition -> newest event time that the batch has read from it.
      lateness_ms: how much later than a newer one an event may come.

    Returns:
      Epoch milliseconds, never less than before; None as long as nothing was read.
    """
    candidates = [newest - lateness_ms for newest in newest_ms.values()]
    if watermark_ms is not None:
        candidates = [one for one in candidates if one > watermark_ms]
    return min(candidates, default=watermark_ms)


def newest_of(*newest_ms: Mapping[str, int]) -> dict[str, int]:
    """Returns partition -> newest event time, of several batches."""
    found: dict[str, int] = {}
    for one in newest_ms:
        for partition, time in one.items():
            found[partition] = max(time, found.get(partition, time))
    return found


def first_open_hour(watermark_ms: int | None, attribution_ms: int) -> int | None:
    """The oldest hour (since 1970) for which something may still come; None: any hour may.

    An hour is over when its last impression can get no click any more.
    """
    if watermark_ms is None:
        return None
    return (watermark_ms - attribution_ms) // HOUR_MS
