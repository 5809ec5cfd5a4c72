"""Chooses the files of the watched folder that a batch reads.

The files of one listing are a round, which is read in batches. The watermark moves only at its end,
since files come in any order and an unread file may hold any hour.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from base.atomic_files import write_json
from pipeline.streaming_sections import Streaming
from streaming.layout import read_json
from streaming.watched_files import (
    CHANGED,
    WatchedFile,
    has_changed,
    list_files,
    reading_order,
    record,
    why_broken,
)

FilesRead = dict[str, dict[str, dict[str, Any]]]  # stream -> path -> its entry in the manifest


@dataclasses.dataclass(frozen=True)
class FileBatch:
    """Files that are read together.

    Attributes:
      files: Stream -> path relative to its watched folder -> the file as it was listed.
      ends_round: Whether these are the last files of the listing.
    """

    files: dict[str, dict[str, WatchedFile]]
    ends_round: bool


def watched_folder(settings: Streaming, stream: str) -> Path:
    """Returns the watched folder of a stream."""
    assert settings.watched is not None
    return settings.watched / stream


def files_of(manifest: Mapping[str, Any]) -> FilesRead:
    """Returns the files that a batch has read, by its manifest."""
    return {stream: dict(files) for stream, files in manifest.get("files", {}).items()}


class FileRounds:
    """Keeps track of the files that were read and those still to be read.

    Args:
      settings: Section `streaming` of a config that names `watched`.
      broken_files: Path of the JSON file that lists files that could not be read to their end.
      report: Function (stream, path, reason) that is called once for each file that is left out or
        has changed.
    """

    def __init__(
        self,
        settings: Streaming,
        broken_files: Path,
        report: Callable[[str, str, str], None],
    ):
        self._settings, self._report, self._broken_files = settings, report, broken_files
        self._read: FilesRead = {stream: {} for stream in settings.streams}
        self._waiting: dict[str, dict[str, WatchedFile]] = {}
        self._broken = {
            stream: {
                path: then
                for path, then in files.items()
                if why_broken(watched_folder(settings, stream) / path) is not None
            }
            for stream, files in read_broken(broken_files, settings).items()
        }  # a disk may be available again
        self._told: set[tuple[str, str, str]] = set()
        self._same: dict[tuple[str, str], WatchedFile] = {}  # new time, same contents

    def note(self, files: FilesRead) -> None:
        """Notes the files that a batch has read."""
        for stream, of_it in files.items():
            self._read.setdefault(stream, {}).update(of_it)  # of streams of earlier configs, too

    def begin(self) -> bool:
        """Lists the folders, and returns whether there are new files to read."""
        for stream in self._settings.streams:
            folder = watched_folder(self._settings, stream)
            listing = list_files(folder)
            read, broken = self._read[stream], self._broken[stream]
            new = {
                path: file
                for path, file in listing.files.items()
                if path not in read and not is_unchanged(file, broken.get(path))
            }
            self._waiting[stream] = {path: new[path] for path in sorted(new, key=reading_order)}
            known = {p: f for p, f in listing.files.items() if self._same.get((stream, p)) != f}
            changed = changed_files(folder, known, read)
            unread = listing.files.keys() - read.keys() - new.keys()
            still = {path: broken[path]["reason"] for path in sorted(unread)}
            for path, reason in {**listing.left_out, **changed, **still}.items():
                self._tell(stream, path, reason)
            self._same |= {(stream, p): f for p, f in known.items() if p not in changed}
        return any(self._waiting.values())

    def next_batch(self) -> FileBatch | None:
        """Returns the next batch of the round; None at its end."""
        files: dict[str, dict[str, WatchedFile]] = {}
        for stream, waiting in self._waiting.items():
            files[stream] = dict(islice(waiting.items(), self._settings.max_files_per_batch))
        if not any(files.values()):
            return None
        left = sum(map(len, self._waiting.values())) - sum(map(len, files.values()))
        return FileBatch(files, ends_round=left == 0)

    def finished(self, batch: FileBatch) -> FilesRead:
        """Returns the manifest's entries for a batch's files after they were read."""
        found: FilesRead = {}
        for stream, files in batch.files.items():
            folder = watched_folder(self._settings, stream)
            found[stream] = {path: record(folder / path, file) for path, file in files.items()}
        return found

    def done(self, batch: FileBatch) -> None:
        """Removes a batch's files from the round."""
        for stream, files in batch.files.items():
            for path in files:
                del self._waiting[stream][path]

    def leave_out_broken(self, batch: FileBatch, suffix: str = "") -> bool:
        """Leaves out the unreadable files of a batch until they change.

        Args:
          batch: Files to check.
          suffix: Suffix of the names to check; all names if empty.

        Returns:
          Whether there was an unreadable file.
        """
        found = False
        for stream, files in batch.files.items():
            for path, file in files.items():
                if not path.endswith(suffix):
                    continue
                reason = why_broken(watched_folder(self._settings, stream) / path)
                if reason is not None:
                    found = True
                    self._broken[stream][path] = {**dataclasses.asdict(file), "reason": reason}
                    del self._waiting[stream][path]
                    self._tell(stream, path, reason)
        write_json(self._broken_files, self._broken, durable=True)
        return found

    def _tell(self, stream: str, path: str, reason: str) -> None:
        if (stream, path, reason) not in self._told:
            self._told.add((stream, path, reason))
            self._report(stream, path, reason)


def read_broken(path: Path, settings: Streaming) -> FilesRead:
    """Returns the files that could not be read to their end, each with its reason."""
    known = read_json(path) if path.exists() else {}
    return {stream: dict(known.get(stream, {})) for stream in settings.streams}


def is_unchanged(file: WatchedFile, then: Mapping[str, Any] | None) -> bool:
    """Returns whether a file is unchanged since it could not be read to its end."""
    return then is not None and (file.size, file.mtime_ns) == (then["size"], then["mtime_ns"])


def changed_files(
    folder: Path, files: Mapping[str, WatchedFile], read: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """Returns path -> CHANGED for the files that have changed since they were read."""
    return {
        path: CHANGED
        for path, then in read.items()
        if path in files and has_changed(folder / path, files[path], then)
    }
