"""Intents: a change of the live versions is written down before it is made, until it is recorded.

A process may die, or ML Metadata may be locked, between a change of models.config and its record.
The intent stays in the folder of the versions then. Whoever changes something next finds out
whether it came to pass (`locked`), and whoever can reach ML Metadata records it
(serving/release/settle.py).
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import fcntl
import getpass
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from base.errors import ComponentError
from components.pusher.release import Release, read_release, versions_named, write_release
from components.pusher.versions_folder import VersionsFolder
from spark_io.publishing.staging import fsync_folder

PROMOTION, ROLLBACK, PUSH = "Promotion", "Rollback", "Push"
_FOLDER = ".intents"


@dataclasses.dataclass(frozen=True)
class Intent:
    """One change.

    Attributes:
      id: Of this change alone; also the name of its run in ML Metadata.
      kind: Promotion, Rollback or Push.
      before, after: What is live, and what shall be. Once it is done: what was made of it.
      withdrawn: Version -> why it is rolled back.
      marks: Version -> why it was withdrawn before; None if it was not.
      user: Who asked for it.
      reason: Why, where somebody said so.
      pushed: Of a push: the version, and where its model came from.
      is_done: Whether `after` is live, or was until the next change.
    """

    id: str
    kind: str
    before: Release | None
    after: Release
    withdrawn: dict[int, str] = dataclasses.field(default_factory=dict)
    marks: dict[int, str | None] = dataclasses.field(default_factory=dict)
    user: str = ""
    reason: str = ""
    pushed: dict[str, str] = dataclasses.field(default_factory=dict)
    is_done: bool = False


def new_id(kind: str) -> str:
    """Sorts by time, and says what it is."""
    now = dt.datetime.now(dt.timezone.utc)
    return f"{now:%Y%m%d-%H%M%S-%f}-{kind.lower()}-{uuid.uuid4().hex[:6]}"


def begun(intent: Intent) -> dt.datetime:
    """When its id was made."""
    text = "-".join(intent.id.split("-")[:3])
    return dt.datetime.strptime(text, "%Y%m%d-%H%M%S-%f").replace(tzinfo=dt.timezone.utc)


@contextlib.contextmanager
def locked(folder: VersionsFolder, wait: bool = True) -> Iterator[None]:
    """`VersionsFolder.locked`, with nothing half-done: what a killed process began is decided.

    Raises:
      ComponentError: Another process has held it for too long, or an intent cannot be read.
      BlockingIOError: Another one holds it, and is not to be waited for.
    """
    with folder.locked(wait):
        for intent in intents_of(folder.base):
            if not intent.is_done:
                _decide(folder, intent)
        yield


@contextlib.contextmanager
def recording(base: Path) -> Iterator[None]:
    """Held by whoever records intents: one at a time, so that each is recorded once, in order."""
    folder = base / _FOLDER
    folder.mkdir(exist_ok=True)
    with (folder / ".lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def intended(folder: VersionsFolder, intent: Intent) -> Iterator[Callable[[Release], Intent]]:
    """Writes an intent, and marks what it withdraws; the block makes the change; within `locked`.

    The marks come first: a version that is no longer live must not come back by a push because
    somebody was killed in between.

    Yields:
      To be called with what is live now; returns the intent as it was done. If the block fails,
      all is as before, unless something was released.
    """
    versions = {intent.after.stable, *intent.withdrawn}
    intent = dataclasses.replace(
        intent, marks={v: folder.withdrawn(v) for v in versions}, user=intent.user or _user()
    )
    _write(folder.base, intent)
    folder.reinstate(intent.after.stable)
    for version, reason in intent.withdrawn.items():
        folder.withdraw(version, reason)
    try:
        yield lambda live: _done(folder.base, intent, live)
    except BaseException:
        with contextlib.suppress(OSError):  # a full disk: who comes next decides
            _decide(folder, intent)
        raise


def intents_of(base: Path) -> list[Intent]:
    """Returns the changes that ML Metadata does not have yet, oldest first.

    Raises:
      ComponentError: One cannot be read.
    """
    found = []
    for path in sorted((base / _FOLDER).glob("*.json")):
        with contextlib.suppress(FileNotFoundError):  # it has just been recorded
            found.append(_read(path))
    return found


def drop(base: Path, intent: Intent) -> None:
    """It is recorded, or did not come to pass."""
    _path(base, intent).unlink(missing_ok=True)
    fsync_folder(base / _FOLDER)


def _decide(folder: VersionsFolder, intent: Intent) -> None:
    """Finds out whether it came to pass; puts the marks back if it did not."""
    live = read_release(folder.base)
    if live is None and intent.before is not None:
        return  # models.config is gone: nobody can say, until somebody has written it anew
    if live is not None and live != intent.before:
        _done(folder.base, intent, live)
        return
    for version, reason in intent.marks.items():
        if reason is None:
            folder.reinstate(version)
        else:
            folder.withdraw(version, reason)
    if live is not None and versions_named(folder.base) != {*live.labels.values()}:
        write_release(folder.base, live)  # without what was being loaded
    drop(folder.base, intent)


def _done(base: Path, intent: Intent, live: Release) -> Intent:
    done = dataclasses.replace(intent, after=live, is_done=True)
    _write(base, done)
    return done


def _path(base: Path, intent: Intent) -> Path:
    return base / _FOLDER / f"{intent.id}.json"


def _write(base: Path, intent: Intent) -> None:
    path = _path(base, intent)
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".part")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(dataclasses.asdict(intent), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    fsync_folder(path.parent)


def _read(path: Path) -> Intent:
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        for name in ("before", "after"):
            found[name] = None if found[name] is None else Release(**found[name])
        for name in ("withdrawn", "marks"):
            found[name] = _by_version(found[name])
        return Intent(**found)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ComponentError(
            f"{path} is not as it was written ({error}): it says what was about to become live. "
            "Compare models.config with `python -m lineage served`, then remove the file"
        ) from None


def _by_version(found: Mapping[str, Any]) -> dict[int, Any]:
    return {int(version): value for version, value in found.items()}  # JSON knows no other keys


def _user() -> str:
    try:
        return getpass.getuser()
    except KeyError:  # a number without a name, as in a container
        return str(os.getuid())
