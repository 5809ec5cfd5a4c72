"""The folder of numbered, complete versions that a model server reads."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from base.atomic_files import partial_of, publish_folder, write_text
from base.errors import ComponentError
from base.locks import acquire, acquire_within
from base.shared_names import ASSETS_EXTRA, VERSIONS_LOCK, WITHDRAWN_MARK

LOCK_SECONDS = 600.0  # longest wait for another process's release
_NOT_THE_MODEL = (ASSETS_EXTRA, WITHDRAWN_MARK, partial_of(Path(WITHDRAWN_MARK)).name)
_INCOMING, _REMOVED = ".incoming-", ".removed-"

_log = logging.getLogger(__name__)


class VersionsFolder:
    """Versions below `base`, which is created if it is missing."""

    def __init__(self, base: Path):
        self.base = base
        base.mkdir(parents=True, exist_ok=True)

    def path(self, version: int) -> Path:
        return self.base / str(version)

    def versions(self) -> list[int]:
        return versions_in(self.base)

    @contextlib.contextmanager
    def locked(self, wait: bool = True) -> Iterator[None]:
        """Locks the folder for this process and removes what killed processes left.

        A release holds the lock until servers have loaded the new version, so waiting is logged.

        Raises:
          LockHeldError: Another process held the lock too long, or holds it and `wait` is false.
          ComponentError: The folder cannot be locked.
        """
        path, purpose = self.base / VERSIONS_LOCK, f"changes what is live in {self.base}"
        try:
            if wait:
                lock = acquire_within(path, LOCK_SECONDS, purpose, _log.warning)
            else:
                lock = acquire(path)
        except OSError as error:
            raise ComponentError(f"cannot lock {self.base}: {error}") from None
        with lock:
            for left in self.base.iterdir():
                if left.name.startswith((_INCOMING, _REMOVED)):
                    shutil.rmtree(left)
            yield

    def find(self, model: Path) -> int | None:
        """Returns the newest version with exactly these files; None if there is none."""
        wanted = digest(model)
        same = (v for v in reversed(self.versions()) if digest(self.path(v)) == wanted)
        return next(same, None)

    def publish(
        self, model: Path, version: int, extra: Path | None, check: Callable[[Path], None]
    ) -> None:
        """Copies a model to a new version. Call it within `locked`.

        Args:
          model: Folder of the SavedModel.
          version: Unused number of the version.
          extra: Folder to copy to its assets.extra; None for none.
          check: Function that raises if the copy is unusable; the version then stays invisible.
        """
        incoming = self.base / f"{_INCOMING}{version}"
        shutil.copytree(model, incoming)
        if extra:
            shutil.copytree(extra, incoming / ASSETS_EXTRA, dirs_exist_ok=True)
        check(incoming)
        publish_folder(incoming, self.path(version))

    def withdraw(self, version: int, reason: str) -> None:
        """Marks a version as rolled back, so that another push does not make it live."""
        folder = self.path(version)
        if folder.is_dir():  # somebody may have removed it by hand
            write_text(folder / WITHDRAWN_MARK, reason, durable=True)

    def withdrawn(self, version: int) -> str | None:
        """Returns why a version was rolled back; None if it was not."""
        try:
            return (self.path(version) / WITHDRAWN_MARK).read_text("utf-8")
        except FileNotFoundError:
            return None

    def reinstate(self, version: int) -> None:
        """Removes the mark of a rollback."""
        (self.path(version) / WITHDRAWN_MARK).unlink(missing_ok=True)

    def retire(self, keep: int, live: set[int]) -> list[int]:
        """Removes all but the newest `keep` and the live versions. Call it within `locked`."""
        old = [version for version in self.versions()[:-keep] if version not in live]
        for version in old:
            self.remove(version)
        return old

    def remove(self, version: int) -> None:
        """Removes a version atomically for servers. Call it within `locked`."""
        removed = self.base / f"{_REMOVED}{version}"
        self.path(version).rename(removed)
        shutil.rmtree(removed)


def versions_in(base: Path) -> list[int]:
    """Returns the versions in ascending order. Folders without a number as name are ignored."""
    if not base.is_dir():
        return []
    names = (path.name for path in base.iterdir() if path.is_dir())
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def digest(model: Path) -> str:
    """Returns the SHA-256 of the model's file names and contents."""
    total = hashlib.sha256()
    files = (path for path in model.rglob("*") if path.is_file())
    for path in sorted(files, key=lambda path: path.relative_to(model).parts):
        name = path.relative_to(model)
        if name.parts[0] in _NOT_THE_MODEL:
            continue
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{content} {os.fspath(name)}\n".encode())
    return total.hexdigest()
