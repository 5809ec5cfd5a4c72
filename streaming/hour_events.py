"""Finds the folders that hold the events of an hour: its span, or those of batches."""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from streaming.layout import LANDED, LATE, Layout


@dataclasses.dataclass(frozen=True)
class LandedBatches:
    """The batches that hold in-time rows of each hour.

    Attributes:
      batches: (stream, hour) -> number of a batch -> number of rows.
    """

    batches: dict[tuple[str, int], dict[int, int]] = dataclasses.field(default_factory=dict)

    def add(self, manifest: Mapping[str, Any]) -> None:
        """Adds the landed rows of a batch."""
        for entry in manifest["rows"]:
            if entry["outcome"] == LANDED:
                of_it = self.batches.setdefault((entry["stream"], entry["hour"]), {})
                of_it[manifest["batch"]] = entry["rows"]

    def rows(self, stream: str, hour: int) -> int:
        """Returns the number of rows of a stream's hour."""
        return sum(self.batches.get((stream, hour), {}).values())

    def hours(self) -> list[int]:
        """Returns the hours that have landed rows, oldest first."""
        return sorted({hour for _, hour in self.batches})

    def streams(self, hour: int) -> set[str]:
        """Returns the streams that have landed rows of an hour."""
        return {stream for stream, of in self.batches if of == hour}


def rows_of(marker: Mapping[str, Any], stream: str) -> int:
    """Returns the rows of a stream in a closed hour; 0 if the stream was not declared then."""
    return int(marker["streams"].get(stream, {}).get("rows", 0))


def landed_batches(manifests: Iterable[Mapping[str, Any]]) -> LandedBatches:
    """Returns the landed rows of all batches."""
    landed = LandedBatches()
    for manifest in manifests:
        landed.add(manifest)
    return landed


def in_time_folders(
    layout: Layout,
    landed: LandedBatches,
    closed: Mapping[int, Any],
    stream: str,
    hours: Iterable[int],
) -> list[Path]:
    """Returns the folders of in-time events: the span of a closed hour, else folders of batches.

    Args:
      layout: Paths below the streaming folder.
      landed: Landed rows of all batches.
      closed: Hour -> its newest marker.
      stream: Stream of the events.
      hours: Hours of the events.
    """
    folders: list[Path] = []
    for hour in hours:
        if hour in closed:
            span = layout.span(stream, hour, closed[hour]["version"])
            folders += [span] if rows_of(closed[hour], stream) else []
        else:
            numbers = landed.batches.get((stream, hour), ())
            folders += [layout.landed(number, stream, hour) for number in numbers]
    return folders


def late_folders(
    layout: Layout, manifests: Iterable[Mapping[str, Any]], stream: str, hours: Iterable[int]
) -> list[Path]:
    """Returns the folders of events that came after their hour was closed."""
    wanted = set(hours)
    return [
        layout.landed(manifest["batch"], stream, entry["hour"], LATE)
        for manifest in manifests
        for entry in manifest["rows"]
        if (entry["outcome"], entry["stream"]) == (LATE, stream) and entry["hour"] in wanted
    ]


def replayed_rows(
    manifests: Iterable[Mapping[str, Any]], marker: Mapping[str, Any]
) -> Counter[str]:
    """Returns stream -> number of late events that a replayed version contains."""
    batches = set(marker.get("late_batches", ()))
    return late_rows((m for m in manifests if m["batch"] in batches), marker["hour"])


def late_rows(manifests: Iterable[Mapping[str, Any]], hour: int) -> Counter[str]:
    """Returns stream -> number of events that came after the hour was closed."""
    rows = Counter[str]()
    for manifest in manifests:
        for entry in manifest["rows"]:
            if (entry["outcome"], entry["hour"]) == (LATE, hour):
                rows[entry["stream"]] += entry["rows"]
    return rows


def remove_landed(marker: dict[str, Any], landed: LandedBatches, layout: Layout) -> None:
    """Removes the landed rows of a closed hour if its spans contain all of them.

    If more rows have landed than the marker counts, they stay, and `status` reports them.

    Args:
      marker: Newest marker of the hour.
      landed: Landed rows of all batches.
      layout: Paths below the streaming folder.
    """
    first, hour = layout.first_marker(marker), marker["hour"]
    for stream in landed.streams(hour):
        counted = first["streams"].get(stream, {}).get("landed", 0)
        if landed.rows(stream, hour) <= counted:
            for number in landed.batches.get((stream, hour), ()):
                shutil.rmtree(layout.landed(number, stream, hour), ignore_errors=True)
