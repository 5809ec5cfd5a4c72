"""The folder a model server looks into: numbered versions, each whole."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from base.errors import ComponentError
from spark_io.publishing.staging import fsync_folder, fsync_tree

WITHDRAWN = "WITHDRAWN"  # file in a version: why it is not to be live again
EXTRA = "assets.extra"  # beside the model: warm-up requests
WARM_UP = Path(EXTRA) / "tf_serving_warmup_requests"  # where TensorFlow Serving looks
_NOT_THE_MODEL = (EXTRA, WITHDRAWN, f".{WITHDRAWN}")
LOCK = ".lock"
_INCOMING, _REMOVED = ".incoming-", ".removed-"

_LOCK_SECONDS, _LOOK_AGAIN_SECONDS = 600.0, 0.1

_log = logging.getLogger(__name__)


class VersionsFolder:
    """Versions below `base`, which is made if it is missing."""

    def __init__(self, base: Path):
        self.base = base
        base.mkdir(parents=True, exist_ok=True)

    def path(self, version: int) -> Path:
        return self.base / str(version)

    def versions(self) -> list[int]:
        return versions_in(self.base)

    @contextlib.contextmanager
    def locked(self, wait: bool = True) -> Iterator[None]:
        """Holds the folder for one process at a time; removes what killed ones left.

        A release holds it until servers have loaded the new version, so one that waits says so.

        Raises:
          ComponentError: Another process has held it for too long, or it cannot be locked.
          BlockingIOError: Another one holds it, and is not to be waited for.
        """
        try:
            opened = (self.base / LOCK).open("a+")
        except OSError as error:
            raise ComponentError(f"cannot lock {self.base}: {error}") from None
        with opened as lock:
            self._take(lock, wait)
            for path in self.base.iterdir():
                if path.name.startswith((_INCOMING, _REMOVED)):
                    shutil.rmtree(path)
            yield

    def _take(self, lock: TextIO, wait: bool) -> None:
        until, said = time.monotonic() + _LOCK_SECONDS, False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not wait:
                    raise
                lock.seek(0)
                holder = lock.read(200).strip() or "another process"
            if not said:
                _log.warning("waiting for %s, which changes what is live in %s", holder, self.base)
                said = True
            if time.monotonic() >= until:
                raise ComponentError(
                    f"{holder} has held {self.base / LOCK} for more than {_LOCK_SECONDS:.0f} s: "
                    "nothing was changed. If it does not end, end it, and try again"
                )
            time.sleep(_LOOK_AGAIN_SECONDS)
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        lock.flush()

    def find(self, model: Path) -> int | None:
        """The newest version that is exactly this model."""
        wanted = digest(model)
        same = (v for v in reversed(self.versions()) if digest(self.path(v)) == wanted)
        return next(same, None)

    def publish(
        self, model: Path, version: int, extra: Path | None, check: Callable[[Path], None]
    ) -> None:
        """Copies a model to be a version; within `locked`.

        Args:
          model: SavedModel.
          version: its number, which is free.
          extra: folder to become its assets.extra.
          check: raises if the copy is of no use; nothing is visible then.
        """
        incoming = self.base / f"{_INCOMING}{version}"
        shutil.copytree(model, incoming)
        if extra:
            shutil.copytree(extra, incoming / EXTRA, dirs_exist_ok=True)
        fsync_tree(incoming)
        check(incoming)
        incoming.rename(self.path(version))
        fsync_folder(self.base)

    def withdraw(self, version: int, reason: str) -> None:
        """Remembers that it was rolled back: it does not become live by being pushed again."""
        folder = self.path(version)
        if folder.is_dir():  # somebody may have removed it by hand
            partial = folder / f".{WITHDRAWN}"
            partial.write_text(reason, "utf-8")
            fsync_folder(partial)
            partial.rename(folder / WITHDRAWN)
            fsync_folder(folder)

    def withdrawn(self, version: int) -> str | None:
        """Why it was rolled back; None if it was not."""
        try:
            return (self.path(version) / WITHDRAWN).read_text("utf-8")
        except FileNotFoundError:
            return None

    def reinstate(self, version: int) -> None:
        """A person says that it may be live after all."""
        (self.path(version) / WITHDRAWN).unlink(missing_ok=True)

    def retire(self, keep: int, live: set[int]) -> list[int]:
        """Removes all but the newest `keep` versions and those that are live; within `locked`."""
        old = [version for version in self.versions()[:-keep] if version not in live]
        for version in old:
            self.remove(version)
        return old

    def remove(self, version: int) -> None:
        """Removes a version, at once for a server that looks meanwhile; within `locked`."""
        removed = self.base / f"{_REMOVED}{version}"
        self.path(version).rename(removed)
        shutil.rmtree(removed)


def versions_in(base: Path) -> list[int]:
    """In ascending order; whatever has no number for its name is none."""
    if not base.is_dir():
        return []
    names = (path.name for path in base.iterdir() if path.is_dir())
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def digest(model: Path) -> str:
    """SHA-256 of names and contents."""
    total = hashlib.sha256()
    files = (path for path in model.rglob("*") if path.is_file())
    for path in sorted(files, key=lambda path: path.relative_to(model).parts):
        name = path.relative_to(model)
        if name.parts[0] in _NOT_THE_MODEL:
            continue
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{content} {os.fspath(name)}\n".encode())
    return total.hexdigest()
