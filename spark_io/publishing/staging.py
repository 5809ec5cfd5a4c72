"""A hidden folder beside the artifact that will be published, held by a lock.

The lock tells a folder in use from one that a killed process left: the next run removes those.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_MARK = ".staging-"


@contextlib.contextmanager
def staging_folder(artifact: Path) -> Iterator[Path]:
    """An empty folder on the artifact's file system; whatever is left of it goes at the end."""
    parent = artifact.parent
    parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(parent)
    folder = parent / f".{artifact.name}{_MARK}{uuid.uuid4().hex[:8]}"
    lock = folder.with_name(f"{folder.name}.lock")
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        folder.mkdir()
        try:
            yield folder
        finally:
            _remove(folder, lock)


def remove_abandoned(parent: Path) -> None:
    """Removes the folders whose process is gone."""
    for lock in parent.glob(f".*{_MARK}*.lock"):
        with contextlib.suppress(OSError), lock.open("r+") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            folder = lock.with_name(lock.name.removesuffix(".lock"))
            if folder.exists() or not _young(lock):
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
    """Made within the last minute: its process may not have come to locking it yet."""
    # A new file without a name tells the file system's own clock, which may be a server's.
    with tempfile.TemporaryFile(dir=lock.parent) as now:
        return os.fstat(now.fileno()).st_mtime - lock.stat().st_mtime < 60


def fsync_folder(folder: Path) -> None:
    """Makes renames within `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(folder: Path) -> None:
    """Everything below a folder, and the folder, to disk."""
    for path in (folder, *folder.rglob("*")):
        fsync_folder(path)  # a file as well


def write_json(path: Path, content: Any) -> None:
    """To disk as well."""
    with path.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=2, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
