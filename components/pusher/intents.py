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
import getpass
import json
import logging
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from base.atomic_files import fsync_folder, write_json
from base.errors import ComponentError
from base.locks import acquire_within
from components.pusher.release import Release, read_release, versions_named, write_release
from components.pusher.versions_folder import LOCK_SECONDS, VersionsFolder

PROMOTION, ROLLBACK, PUSH = "Promotion", "Rollback", "Push"
_FOLDER = ".intents"

_log = logging.getLogger(__name__)


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
      LockHeldError: Another process has held it for too long, or is not to be waited for.
      ComponentError: An intent cannot be read.
    """
    with folder.locked(wait):
        for intent in intents_of(folder.base):
            if not intent.is_done:
                _decide(folder, intent)
        yield


def recording(base: Path) -> IO[bytes]:
    """Lets one process at a time record intents, so that each is recorded once, in order.

    Returns:
      A lock, which is held until it is closed.

    Raises:
      LockHeldError: Another process has held it for too long.
    """
    folder = base / _FOLDER
    folder.mkdir(exist_ok=True)
    purpose = f"records what has become live in {base}"
    return acquire_within(folder / ".lock", LOCK_SECONDS, purpose, _log.warning)


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
    write_json(_path(base, intent), dataclasses.asdict(intent), durable=True)


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
