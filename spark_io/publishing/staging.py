"""Makes a hidden staging folder beside the artifact, protected by a lock.

The lock tells a folder in use from one that a killed process left. The next run removes the latter.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from base.locks import acquire_within, try_lock

_LOCK_SECONDS = 60  # a starting run holds each lock briefly
_MARK = ".staging-"


@contextlib.contextmanager
def staging_folder(artifact: Path) -> Iterator[Path]:
    """Yields an empty folder on the artifact's file system, and removes it at the end."""
    parent = artifact.parent
    parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(parent)
    folder = parent / f".{artifact.name}{_MARK}{uuid.uuid4().hex[:8]}"
    lock = folder.with_name(f"{folder.name}.lock")
    with acquire_within(lock, _LOCK_SECONDS, "is removing the leftovers of killed runs"):
        folder.mkdir()
        try:
            yield folder
        finally:
            _remove(folder, lock)


def remove_abandoned(parent: Path) -> None:
    """Removes the folders of processes that have ended."""
    for lock in parent.glob(f".*{_MARK}*.lock"):
        with contextlib.suppress(OSError), lock.open("r+b") as held:
            folder = lock.with_name(lock.name.removesuffix(".lock"))
            if try_lock(held) and (folder.exists() or not _young(lock)):
                _remove(folder, lock)
    for folder in parent.glob(f".*{_MARK}*"):
        # A lock outlives its folder. A folder without one was made again by a task that still
        # ran.
        if folder.is_dir() and not folder.with_name(f"{folder.name}.lock").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _remove(folder: Path, lock: Path) -> None:
    """Removes a folder, and its lock unless a task that still runs added a file meanwhile."""
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        lock.unlink(missing_ok=True)


def _young(lock: Path) -> bool:
    """Returns whether a lock file is under a minute old: its process may be about to hold it."""
    # The time of a new file is that of the file system's clock, which may be a server's.
    with tempfile.TemporaryFile(dir=lock.parent) as now:
        return os.fstat(now.fileno()).st_mtime - lock.stat().st_mtime < 60
