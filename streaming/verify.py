"""Checks by the files on disk that every event is where the manifests and markers say.

events read = rows of spans + duplicates + rows of open hours + late + refused
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import base.arrow  # noqa: F401
from pipeline.streaming_sections import Streaming
from streaming.accounts import PLACES, accounts
from streaming.file_rounds import (
    FilesRead,
    changed_files,
    files_of,
    is_unchanged,
    read_broken,
    watched_folder,
)
from streaming.hour_events import late_rows, replayed_rows
from streaming.indexes import indexed_hours, read_index
from streaming.layout import (
    LANDED,
    Layout,
    hour_name,
    hour_start,
    modification_times,
)
from streaming.replay import unfinished
from streaming.watched_files import CHANGED, list_files

_TRIES, _PAUSE_S = 5, 1.0
_NEXT = {
    CHANGED: "its new contents are not read: write the whole contents under a new name and remove "
    "this file (write files elsewhere, then rename them into the folder)"
}
_NOTHING = {"rows": 0, "duplicates": 0, "unfit": 0, "landed": 0}
_OTHERWISE = "fix this, and it will be read"


@dataclasses.dataclass(frozen=True)
class Verification:
    """The result of a verification.

    Attributes:
      places: Stream -> place of an event, or `read` -> number of events.
      problems: One line each with the expected value, the actual one, and the next step.
      files_waiting: Number of files of the watched folder that are still to be read.
    """

    places: dict[str, dict[str, int]]
    problems: list[str]
    files_waiting: int = 0


def verify(settings: Streaming) -> Verification:
    """Adds up all events, and compares the counts with the files.

    An ingest may be running, so problems are checked again if files have changed meanwhile.

    Args:
      settings: Section `streaming` of a config.
    """
    layout = Layout(settings.folder)
    for attempt in range(_TRIES):
        before = _stamp(layout)
        found = _verify(layout, settings)
        if not found.problems or (_stamp(layout) == before and attempt):
            break
        time.sleep(_PAUSE_S if attempt else _PAUSE_S / 10)
    return found


def _stamp(layout: Layout) -> list[int]:
    return modification_times(layout.batches, layout.markers)


def _verify(layout: Layout, settings: Streaming) -> Verification:
    manifests, closed = layout.manifests(), layout.closed_hours()
    counted = accounts(layout, settings.streams)
    places = {s: {"read": n, **counted["places"][s]} for s, n in counted["read"].items()}
    problems = [
        *_sums(places),
        *_batches(layout, manifests, closed),
        *_hours(layout, manifests, closed),
        *_unfinished(closed),
        *_indexes(layout, closed, settings),
    ]
    waiting = 0
    if settings.watched is not None:
        waiting, of_files = _files(layout, manifests, settings)
        problems += of_files
    return Verification(places, problems, waiting)


def _sums(places: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    for stream, of in places.items():
        total = sum(of[place] for place in PLACES)
        if total != of["read"]:
            parts = " + ".join(f"{of[place]:,} {place}" for place in PLACES)
            yield (
                f"{stream}: {of['read']:,} events were read, but {parts} = {total:,}: "
                f"{abs(of['read'] - total):,} {'are missing' if total < of['read'] else 'too many'}"
            )


def _batches(
    layout: Layout, manifests: Sequence[Mapping[str, Any]], closed: Mapping[int, Any]
) -> Iterator[str]:
    """Yields problems of batches: missing manifests, or folders that contradict their counts."""
    numbers = [manifest["batch"] for manifest in manifests]
    gone = sorted(set(range(max(numbers, default=-1) + 1)) - set(numbers))
    if gone:
        yield (
            f"{layout.batches}: manifests of batches {', '.join(map(str, gone[:9]))} are gone "
            f"({len(gone):,}); restore them, since their events are not counted"
        )
    for manifest in manifests:
        folder = layout.batch(manifest["batch"])
        counted: dict[Path, int] = {}
        for entry in manifest["rows"]:
            if entry["outcome"] == LANDED and entry["hour"] in closed:
                continue  # its span holds it
            hour = -1 if entry["hour"] is None else entry["hour"]
            path = layout.landed(manifest["batch"], entry["stream"], hour, entry["outcome"])
            counted[path] = counted.get(path, 0) + entry["rows"]
        for path, rows in counted.items():
            if (there := _rows(path)) != rows:
                yield (
                    f"{path.relative_to(layout.folder)}: {folder.name}.json counts {rows:,} "
                    f"events, its files hold {there:,}; restore them"
                )


def _hours(
    layout: Layout, manifests: Sequence[Mapping[str, Any]], closed: Mapping[int, dict[str, Any]]
) -> Iterator[str]:
    """Yields problems of closed hours: landed events missing from a span, or a changed span."""
    landed: dict[tuple[str, int], int] = {}
    for manifest in manifests:
        for entry in manifest["rows"]:
            if entry["outcome"] == LANDED:
                key = entry["stream"], entry["hour"]
                landed[key] = landed.get(key, 0) + entry["rows"]
    for hour, marker in closed.items():
        first = layout.first_marker(marker)
        came, replayed = late_rows(manifests, hour), replayed_rows(manifests, first)
        here = {stream for stream, of in landed if of == hour} | came.keys()
        for stream in sorted({*marker["streams"], *here}):
            name = f"{hour_name(hour)}, {stream}"
            one = marker["streams"].get(stream, _NOTHING)
            expected = landed.get((stream, hour), 0)
            in_first = first["streams"].get(stream, _NOTHING)["landed"] - replayed[stream]
            if in_first != expected:
                yield (
                    f"{name}: {expected:,} events landed, but its first version was made of "
                    f"{in_first:,}; look into {layout.batches}/*/outcome=landed"
                )
            total = one["rows"] + one["duplicates"] + one["unfit"]
            if total != one["landed"] or one["duplicates"] < 0:
                yield (
                    f"{name}: its marker says {one['landed']:,} events, but {one['rows']:,} rows + "
                    f"{one['duplicates']:,} duplicates + {one['unfit']:,} unfit = {total:,}"
                )
            span = layout.span(stream, hour, marker["version"])
            if (there := _rows(span)) != one["rows"]:
                yield (
                    f"{span.relative_to(layout.folder)}: its marker counts {one['rows']:,} rows, "
                    f"its files hold {there:,}; restore them"
                )
        if marker.get("late_rows", 0) > sum(came.values()):
            yield (
                f"{hour_name(hour)}: version {marker['version']} was made of "
                f"{marker['late_rows']:,} late events, but {sum(came.values()):,} are known"
            )


def _unfinished(closed: Mapping[int, Mapping[str, Any]]) -> Iterator[str]:
    """Yields hours that a replay of an earlier hour still has to make again."""
    for hour, of in unfinished(closed).items():
        after = min(of)
        yield (
            f"{hour_name(hour)}: its outcomes belong to late events of {hour_name(after)}, whose "
            "replay was interrupted; repeat: python -m streaming replay --hour "
            f"{hour_start(after):%Y-%m-%dT%H}"
        )


def _indexes(
    layout: Layout, closed: Mapping[int, Mapping[str, Any]], settings: Streaming
) -> Iterator[str]:
    """Yields indexes that say something else about spans than the markers."""
    for table, spans in indexed_hours(closed, settings).items():
        path = layout.index(table)
        if not path.exists():
            if spans:
                yield f"{path.relative_to(layout.folder)} is gone; the next ingest writes it"
            continue
        if read_index(path).spans != spans:
            yield (
                f"{path.relative_to(layout.folder)}: it has other spans than the markers of closed "
                "hours; the next ingest writes it again"
            )


def _rows(folder: Path) -> int:
    """Returns the number of rows of the Parquet files in a folder, by their footers."""
    rows = 0
    for path in folder.glob("*.parquet"):
        try:
            rows += pq.read_metadata(path).num_rows
        except (OSError, pa.ArrowException):
            continue  # an unreadable file counts as empty, which the caller reports
    return rows


def _files(
    layout: Layout, manifests: Sequence[Mapping[str, Any]], settings: Streaming
) -> tuple[int, list[str]]:
    """Returns the number of waiting files, and the problems of the others."""
    read: FilesRead = {stream: {} for stream in settings.streams}
    for manifest in manifests:
        for stream, of_batch in files_of(manifest).items():
            read.setdefault(stream, {}).update(of_batch)
    broken, waiting, problems = read_broken(layout.broken_files, settings), 0, []
    for stream in settings.streams:
        folder = watched_folder(settings, stream)
        listing = list_files(folder)
        wrong = {**listing.left_out, **changed_files(folder, listing.files, read[stream])}
        for path in listing.files.keys() - read[stream].keys():
            if is_unchanged(listing.files[path], broken[stream].get(path)):
                wrong[path] = broken[stream][path]["reason"]
            else:
                waiting += 1
        problems += [
            f"{folder / path}: {reason}; {_NEXT.get(reason, _OTHERWISE)}"
            for path, reason in sorted(wrong.items())
        ]
    return waiting, problems
