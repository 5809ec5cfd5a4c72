"""Computes the watermark, which depends only on the event times that batches have read."""

from __future__ import annotations

from collections.abc import Mapping

HOUR_MS = 3_600_000


def advanced(
    watermark_ms: int | None, newest_ms: Mapping[str, int], lateness_ms: int
) -> int | None:
    """Returns the watermark after a batch.

    Of the partitions that the batch has read, the one furthest behind decides. A partition that
    catches up is waited for, and an idle one is not. A partition with only late events does not
    hold back the others, since its times are before the watermark anyway.

    Args:
      watermark_ms: Watermark before the batch in epoch milliseconds; None at the start.
      newest_ms: Partition -> newest event time that the batch has read from it.
      lateness_ms: Allowed lateness in milliseconds.

    Returns:
      Watermark in epoch milliseconds, never less than before; None until an event was read.
    """
    candidates = [newest - lateness_ms for newest in newest_ms.values()]
    if watermark_ms is not None:
        candidates = [one for one in candidates if one > watermark_ms]
    return min(candidates, default=watermark_ms)


def newest_of(*newest_ms: Mapping[str, int]) -> dict[str, int]:
    """Returns partition -> newest event time over several batches."""
    found: dict[str, int] = {}
    for one in newest_ms:
        for partition, time in one.items():
            found[partition] = max(time, found.get(partition, time))
    return found


def first_open_hour(watermark_ms: int | None) -> int | None:
    """Returns the oldest hour (since 1970) that may still get events; None if any hour may."""
    return None if watermark_ms is None else watermark_ms // HOUR_MS


def labels_until(watermark_ms: int, within_ms: int) -> int:
    """Returns the end of the outcomes of the newest hour whose outcomes have all had their time.

    Args:
      watermark_ms: Watermark in epoch milliseconds.
      within_ms: Longest time from an event to its outcome, in milliseconds.

    Returns:
      Epoch milliseconds: the end of the hour, and `within_ms` more.
    """
    return (watermark_ms - within_ms) // HOUR_MS * HOUR_MS + within_ms
