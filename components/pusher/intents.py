"""Intents: changes of the live versions, written before they are made and kept until recorded.

A process may die, or ML Metadata may be locked, between a change of models.config and its record.
The intent then stays in the folder of the versions. The next process that changes something finds
out whether the change was made (`locked`). Any process that reaches ML Metadata records it
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
    """One change of the live versions.

    Attributes:
      id: Unique id, also the name of the change's run in ML Metadata.
      kind: Promotion, Rollback or Push.
      before: Release before the change.
      after: Planned release; once the change is done, the release that resulted.
      withdrawn: Version -> why it is rolled back.
      marks: Version -> why it was withdrawn before the change; None if it was not.
      user: User who asked for the change.
      reason: Reason that the user gave; "" without one.
      pushed: Version of a push, and the source of its model; empty for other kinds.
      is_done: Whether `after` became live.
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
    """Returns a new id that sorts by time and includes the kind."""
    now = dt.datetime.now(dt.timezone.utc)
    return f"{now:%Y%m%d-%H%M%S-%f}-{kind.lower()}-{uuid.uuid4().hex[:6]}"


def begun(intent: Intent) -> dt.datetime:
    """Returns the time at which the intent's id was created."""
    text = "-".join(intent.id.split("-")[:3])
    return dt.datetime.strptime(text, "%Y%m%d-%H%M%S-%f").replace(tzinfo=dt.timezone.utc)


@contextlib.contextmanager
def locked(folder: VersionsFolder, wait: bool = True) -> Iterator[None]:
    """Locks the folder and settles the intents of killed processes.

    Raises:
      LockHeldError: Another process held the lock too long, or holds it and `wait` is false.
      ComponentError: An intent cannot be read.
    """
    with folder.locked(wait):
        for intent in intents_of(folder.base):
            if not intent.is_done:
                _decide(folder, intent)
        yield


def recording(base: Path) -> IO[bytes]:
    """Lets one process at a time record intents, so that each is recorded once and in order.

    Returns:
      Lock that is held until it is closed.

    Raises:
      LockHeldError: Another process held the lock too long.
    """
    folder = base / _FOLDER
    folder.mkdir(exist_ok=True)
    purpose = f"records what has become live in {base}"
    return acquire_within(folder / ".lock", LOCK_SECONDS, purpose, _log.warning)


@contextlib.contextmanager
def intended(folder: VersionsFolder, intent: Intent) -> Iterator[Callable[[Release], Intent]]:
    """Writes an intent and marks the versions it withdraws, before the block makes the change.

    Call it within `locked`. The marks come first, so that a push cannot bring a withdrawn version
    back after a kill. If the block fails, everything is restored unless something was released.

    Yields:
      Function to call with the resulting release; it returns the completed intent.
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
    """Returns the changes that are not recorded in ML Metadata yet, oldest first.

    Raises:
      ComponentError: An intent cannot be read.
    """
    found = []
    for path in sorted((base / _FOLDER).glob("*.json")):
        with contextlib.suppress(FileNotFoundError):  # it has just been recorded
            found.append(_read(path))
    return found


def drop(base: Path, intent: Intent) -> None:
    """Deletes an intent that is recorded, or whose change was not made."""
    _path(base, intent).unlink(missing_ok=True)
    fsync_folder(base / _FOLDER)


def _decide(folder: VersionsFolder, intent: Intent) -> None:
    """Completes an intent whose change was made; restores the marks if it was not."""
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
            f"{path} is damaged ({error}). It describes a change of the live versions. Compare "
            "models.config with `python -m lineage served`, then remove the file"
        ) from None


def _by_version(found: Mapping[str, Any]) -> dict[int, Any]:
    return {int(version): value for version, value in found.items()}  # JSON knows no other keys


def _user() -> str:
    try:
        return getpass.getuser()
    except KeyError:  # a number without a name, as in a container
        return str(os.getuid())
