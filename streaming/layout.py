"""Paths of all files, and access to manifests and markers.

A batch counts when its manifest exists, an hour when its marker exists.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from base.atomic_files import write_json
from base.errors import ComponentError
from base.locks import LockHeldError, acquire
from pipeline.stream_sources import INDEX
from streaming import manifests
from streaming.watermark import HOUR_MS

LANDED, LATE, REFUSED = "landed", "late", "refused"
MAKES_AGAIN = "makes_again"  # in a marker: later hours that need a next version because of it
PREVIEW = 0  # version of an hour's outcomes so far, before the hour is closed


@dataclasses.dataclass(frozen=True)
class Layout:
    """The paths below the streaming folder.

    Attributes:
      folder: The config's `streaming.folder`.
    """

    folder: Path

    @property
    def checkpoint(self) -> Path:
        """Folder of Spark's checkpoint."""
        return self.folder / "landing" / "checkpoint"

    @property
    def batches(self) -> Path:
        return self.folder / "landing" / "batches"

    @property
    def markers(self) -> Path:
        return self.folder / "spans" / "closed"

    def index(self, table: str) -> Path:
        """Returns the path of a table's index; see indexes.py."""
        return self.folder / "spans" / table / INDEX

    @property
    def finished(self) -> Path:
        """File with the times that `ingest --finish` has declared."""
        return self.folder / "landing" / "finished.json"

    @property
    def links(self) -> Path:
        """Folder of links to files whose names Spark cannot read."""
        return self.folder / "landing" / "links"

    @property
    def broken_files(self) -> Path:
        """File that lists watched files that could not be read to their end."""
        return self.folder / "landing" / "broken_files.json"

    def batch(self, number: int) -> Path:
        return self.batches / str(number)

    def landed(self, number: int, stream: str, hour: int, outcome: str = LANDED) -> Path:
        """Returns the folder of a batch's events of an hour."""
        return self.batch(number) / f"outcome={outcome}" / f"stream={stream}" / f"hour={hour}"

    def span(self, table: str, hour: int, version: int = 1) -> Path:
        """Returns the folder of a version of a stream's span or of an application's table."""
        when = hour_start(hour)
        return self.folder / "spans" / table / f"{when:%Y-%m-%d}" / f"{when:%H}" / f"v{version}"

    @property
    def unfit_folder(self) -> Path:
        """Folder of events that did not fit the declared types when their hour was closed."""
        return self.folder / "landing" / "unfit"

    def unfit(self, stream: str, hour: int, version: int) -> Path:
        """Returns the folder of the events that a version of a span leaves out as unfit."""
        when = hour_start(hour)
        return self.unfit_folder / stream / f"{when:%Y-%m-%d}" / f"{when:%H}" / f"v{version}"

    def newest(self, table: str, hours: Iterable[int]) -> list[Path]:
        """Returns the folders of the newest versions of closed hours, where there are rows."""
        closed = self.closed_hours()
        spans = [self.span(table, h, closed[h]["version"]) for h in hours if h in closed]
        return [span for span in spans if span.exists()]

    def unmarked(self, hour: int, version: int) -> list[Path]:
        """Returns an hour's folders of versions without a marker, left by killed processes.

        Args:
          hour: Hours since 1970.
          version: Newest version that has a marker; 0 if none has.
        """
        when = hour_start(hour)
        below = f"*/{when:%Y-%m-%d}/{when:%H}/v[0-9]*"
        folders = [
            folder
            for parent in ("spans", self.unfit_folder.relative_to(self.folder))
            for folder in self.folder.glob(f"{parent}/{below}")
        ]
        return [folder for folder in folders if int(folder.name[1:]) > version]

    def marker(self, hour: int, version: int = 1) -> Path:
        """Returns the path of the marker of an hour's version."""
        name = f"{hour_start(hour):%Y-%m-%d-%H}"
        return self.markers / (f"{name}.json" if version == 1 else f"{name}.v{version}.json")

    def manifests(self) -> list[dict[str, Any]]:
        """Returns the manifests of all batches, in order."""
        return manifests.read_all(self.batches)

    def watermark_ms(self) -> int | None:
        """Returns the watermark after all batches and `ingest --finish`; None before the first."""
        newest = manifests.read_newest(self.batches)
        known = [newest["watermark_ms"]] if newest is not None else []
        if self.finished.exists():
            known.append(read_json(self.finished)["watermark_ms"])
        return max((int(w) for w in known if w is not None), default=None)

    def outcomes_ms(self) -> int | None:
        """Returns the time up to which `ingest --finish` says that all outcomes have come."""
        return read_json(self.finished)["outcomes_ms"] if self.finished.exists() else None

    def manifest(self, number: int) -> Path:
        return self.batches / f"{number}.json"

    def closed_hours(self) -> dict[int, dict[str, Any]]:
        """Returns hour -> the marker of its newest version, oldest first.

        Raises:
          ComponentError: A marker has the form of an earlier version of this project.
        """
        markers = [read_json(path) for path in numbered(self.markers)]
        if any("streams" not in marker for marker in markers):
            raise ComponentError(
                f"{self.folder}: an earlier version of this project has closed its hours, with "
                "labels in them. Read the events again into a new streaming.folder"
            )
        return {m["hour"]: m for m in sorted(markers, key=lambda m: (m["hour"], m["version"]))}

    def first_marker(self, marker: dict[str, Any]) -> dict[str, Any]:
        """Returns the marker of version 1 of an hour, given the marker of any version."""
        return marker if marker["version"] == 1 else read_json(self.marker(marker["hour"]))


@dataclasses.dataclass(frozen=True)
class HourFiles:
    """One small JSON file per hour, which any process may read and write.

    Attributes:
      folder: Folder of the files.
    """

    folder: Path

    def path(self, hour: int) -> Path:
        return self.folder / f"{hour_start(hour):%Y-%m-%d-%H}.json"

    def write(self, hour: int, content: dict[str, Any]) -> None:
        write_json(self.path(hour), content, durable=True, many_writers=True)

    def read(self) -> dict[int, dict[str, Any]]:
        """Returns hour -> the content of its file, oldest first."""
        files = (path for path in numbered(self.folder) if path.suffix == ".json")
        contents = (read_json(path) for path in files)
        return {content["hour"]: content for content in contents}


def numbered(folder: Path) -> list[Path]:
    """Returns the paths in a folder whose names begin with a digit, sorted by name.

    A missing folder counts as empty. An unreadable folder is an error; `glob` would return nothing,
    and finished work would be repeated.
    """
    return sorted(p for p in folder.iterdir() if p.name[0].isdecimal()) if folder.exists() else []


def modification_times(*folders: Path) -> list[int]:
    """Returns the folders' modification times, which change when a file is added or replaced."""
    return [folder.stat().st_mtime_ns for folder in folders if folder.exists()]


def hour_start(hour: int) -> dt.datetime:
    """Returns the start of an hour since 1970, in UTC."""
    return dt.datetime.fromtimestamp(hour * HOUR_MS // 1000, dt.timezone.utc)


def hour_name(hour: int) -> str:
    """Returns the name of an hour for people."""
    return f"{hour_start(hour):%Y-%m-%d %H}h"


def hour_number(name: str) -> int:
    """Returns the number of an hour that is written as 2024-03-01T05.

    Raises:
      ComponentError: The name is not an hour.
    """
    try:
        when = dt.datetime.strptime(name, "%Y-%m-%dT%H").replace(tzinfo=dt.timezone.utc)
    except ValueError:
        raise ComponentError(
            f"expected an hour such as 2024-03-01T05. Received: '{name}'"
        ) from None
    return int(when.timestamp() * 1000) // HOUR_MS


def read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text("utf-8")))


def exclusive_lock(folder: Path, what: str) -> IO[bytes]:
    """Keeps other processes from doing the same work below a folder.

    Args:
      folder: The config's `streaming.folder`.
      what: Name of the work, such as ingest or operation.

    Returns:
      A lock that is held until it is closed.

    Raises:
      ComponentError: Another process holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return acquire(folder / f".{what}.lock")
    except LockHeldError:
        raise ComponentError(
            f"another {what} writes to {folder}; stop it, or choose another streaming.folder"
        ) from None
