"""Which folders hold the events of an hour: those of batches, or a span."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from streaming.layout import LANDED, LATE, STREAMS, Layout


@dataclasses.dataclass(frozen=True)
class Landed:
    """Which batches hold rows of an hour that came in time.

    Attributes:
      batches: (stream, hour) -> number of a batch -> rows.
    """

    batches: dict[tuple[str, int], dict[int, int]] = dataclasses.field(default_factory=dict)

    def add(self, manifest: Mapping[str, Any]) -> None:
        """Notes what a batch has landed."""
        for entry in manifest["rows"]:
            if entry["outcome"] == LANDED:
                of_it = self.batches.setdefault((entry["stream"], entry["hour"]), {})
                of_it[manifest["batch"]] = entry["rows"]

    def rows(self, stream: str, hour: int) -> int:
        """Returns the number of rows of a stream's hour."""
        return sum(self.batches.get((stream, hour), {}).values())

    def hours(self) -> list[int]:
        """Returns the hours that have rows, oldest first."""
        return sorted({hour for _, hour in self.batches})


def landed_of(manifests: Iterable[Mapping[str, Any]]) -> Landed:
    """Returns what batches have landed."""
    landed = Landed()
    for manifest in manifests:
        landed.add(manifest)
    return landed


def in_time(
    layout: Layout, landed: Landed, closed: Mapping[int, Any], stream: str, hours: Iterable[int]
) -> list[Path]:
    """Returns the folders of what came in time: of a closed hour its span, else the batches'.

    Args:
      layout: Where everything lies.
      landed: What batches have landed.
      closed: Hour -> its newest marker.
      stream: Stream of the events.
      hours: Hours of the events.
    """
    folders: list[Path] = []
    for hour in hours:
        if hour in closed:
            span = layout.span(stream, hour, closed[hour]["version"])
            folders += [span] if closed[hour][stream]["rows"] else []
        else:
            numbers = landed.batches.get((stream, hour), ())
            folders += [layout.landed(number, stream, hour) for number in numbers]
    return folders


def came_late(
    layout: Layout, manifests: Iterable[Mapping[str, Any]], stream: str, hours: Iterable[int]
) -> list[Path]:
    """Returns the folders of what came after its hour was closed."""
    wanted = set(hours)
    return [
        layout.landed(manifest["batch"], stream, entry["hour"], LATE)
        for manifest in manifests
        for entry in manifest["rows"]
        if (entry["outcome"], entry["stream"]) == (LATE, stream) and entry["hour"] in wanted
    ]


def late_read(manifests: Iterable[Mapping[str, Any]], marker: Mapping[str, Any]) -> dict[str, int]:
    """Returns stream -> late events of its hour that a version of its spans holds."""
    batches = set(marker.get("late_batches", ()))
    return late_rows((m for m in manifests if m["batch"] in batches), marker["hour"])


def late_rows(manifests: Iterable[Mapping[str, Any]], hour: int) -> dict[str, int]:
    """Returns stream -> events that came after the hour was closed."""
    rows = dict.fromkeys(STREAMS, 0)
    for manifest in manifests:
        for entry in manifest["rows"]:
            if (entry["outcome"], entry["hour"]) == (LATE, hour):
                rows[entry["stream"]] += entry["rows"]
    return rows


def forget(marker: dict[str, Any], landed: Landed, layout: Layout) -> None:
    """Removes what has landed of a closed hour, if its spans hold all of it.

    Rows that landed and are not in the marker's count are left; `status` says so.

    Args:
      marker: Newest marker of the hour.
      landed: What batches have landed.
      layout: Where everything lies.
    """
    first, hour = layout.first_marker(marker), marker["hour"]
    for stream in STREAMS:
        if landed.rows(stream, hour) <= first[stream]["landed"]:
            for number in landed.batches.get((stream, hour), ()):
                shutil.rmtree(layout.landed(number, stream, hour), ignore_errors=True)
