"""A hidden folder beside the artifact that will be published, held by a lock.

The lock tells a folder in use from one that a killed process left: the next run removes those.
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

_LOCK_SECONDS = 60  # a run that starts looks at each lock for a moment
_MARK = ".staging-"


@contextlib.contextmanager
def staging_folder(artifact: Path) -> Iterator[Path]:
    """Yields an empty folder on the artifact's file system, and removes it at the end."""
    parent = artifact.parent
    parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(parent)
    folder = parent / f".{artifact.name}{_MARK}{uuid.uuid4().hex[:8]}"
    lock = folder.with_name(f"{folder.name}.lock")
    with acquire_within(lock, _LOCK_SECONDS, "looks for what killed runs have left"):
        folder.mkdir()
        try:
            yield folder
        finally:
            _remove(folder, lock)


def remove_abandoned(parent: Path) -> None:
    """Removes the folders whose process is gone."""
    for lock in parent.glob(f".*{_MARK}*.lock"):
        with contextlib.suppress(OSError), lock.open("r+b") as held:
            folder = lock.with_name(lock.name.removesuffix(".lock"))
            if try_lock(held) and (folder.exists() or not _young(lock)):
                _remove(folder, lock)
    for folder in parent.glob(f".*{_MARK}*"):
        # The lock comes before the folder and goes after it: without one, a task that still ran
        # has made the folder anew.
        if folder.is_dir() and not folder.with_name(f"{folder.name}.lock").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _remove(folder: Path, lock: Path) -> None:
    """A task that still runs may put a file in meanwhile; what is left then is still abandoned."""
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        lock.unlink(missing_ok=True)


def _young(lock: Path) -> bool:
    """Returns whether a lock was made within the last minute: it may be about to be held."""
    # A new file without a name tells the file system's own clock, which may be a server's.
    with tempfile.TemporaryFile(dir=lock.parent) as now:
        return os.fstat(now.fileno()).st_mtime - lock.stat().st_mtime < 60
