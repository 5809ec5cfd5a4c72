"""Promotes the canary or rolls back, by changing models.config in steps that servers accept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from base.errors import ComponentError
from components.pusher.intents import PROMOTION, ROLLBACK, Intent, intended, locked, new_id
from components.pusher.release import Release, read_release
from components.pusher.rollout import Rollout
from components.pusher.versions_folder import VersionsFolder


def promote(
    base: Path,
    expected: Release | None = None,
    rollout: Rollout | None = None,
    switch_id: str = "",
) -> Intent:
    """Makes the canary stable.

    Args:
      base: Folder of the versions.
      expected: Release that must be live; None for any.
      rollout: Rollout that makes the change; None for one without named servers.
      switch_id: Id from `intents.new_id`; empty for a new one.

    Returns:
      The switch, which is not recorded in ML Metadata yet.

    Raises:
      ComponentError: There is no canary, another release is live, or a server could not load the
        canary. The release has not changed.
    """

    def change(folder: VersionsFolder, before: Release | None) -> Intent:
        if before is None:
            raise _nothing_live(base)
        if before.canary is None:
            raise ComponentError(
                f"there is no canary to promote: version {before.stable} is live for all requests. "
                "Set `serving.release: canary` in the config to make the next push a canary"
            )
        return Intent(
            switch_id or new_id(PROMOTION), PROMOTION, before, before.with_stable(before.canary)
        )

    return _switch(base, change, expected, rollout or Rollout(), urgent=False)


def rollback(
    base: Path,
    to: int | None,
    reason: str,
    expected: Release | None = None,
    rollout: Rollout | None = None,
    switch_id: str = "",
) -> Intent:
    """Withdraws the canary if there is one, else the stable version.

    The `previous` version takes over at once. Any other version is loaded first.

    Args:
      base: Folder of the versions.
      to: Version to make stable; newer live versions are withdrawn. None for the previous one.
      reason: Reason that is stored with the withdrawn versions.
      expected: Release that must be live; None for any.
      rollout: Rollout that makes the change; None for one without named servers.
      switch_id: Id from `intents.new_id`; empty for a new one.

    Returns:
      The switch, which is not recorded in ML Metadata yet.

    Raises:
      ComponentError: There is no version to go back to, another release is live, or a server cannot
        load the version. The release has not changed.
    """

    name = switch_id or new_id(ROLLBACK)

    def change(folder: VersionsFolder, before: Release | None) -> Intent:
        if before is None:
            return dataclasses.replace(_restored(folder, to, name), reason=reason)
        if to is None and before.canary is not None:
            after = dataclasses.replace(before, canary=None)
            withdrawn = {before.canary: reason}
            return Intent(name, ROLLBACK, before, after, withdrawn, reason=reason)
        target = before.previous if to is None else to
        usable = [v for v in folder.versions() if v == to or folder.withdrawn(v) is None]
        if target is None or target not in usable:
            others = ", ".join(str(v) for v in usable if v != before.stable)
            wanted = "there is no version to go back to" if to is None else f"no version {to}"
            if not others:
                raise ComponentError(
                    f"{wanted} in {base}: version {before.stable} is the only one that may be "
                    "live. Run the pipeline to push another"
                )
            raise ComponentError(f"{wanted} in {base}. Name one of these with --to: {others}")
        older = [version for version in usable if version < target]
        after = Release(target, previous=max(older, default=None))
        newer = [v for v in before.labels.values() if v > target]
        withdrawn = dict.fromkeys(newer, reason)
        return Intent(name, ROLLBACK, before, after, withdrawn, reason=reason)

    return _switch(base, change, expected, rollout or Rollout(), urgent=True)


def _restored(folder: VersionsFolder, to: int | None, name: str) -> Intent:
    """Returns the rollback that restores a lost models.config with the version `to`."""
    if to is None or to not in folder.versions():
        raise _nothing_live(folder.base)
    return Intent(name, ROLLBACK, None, Release(to))


def _nothing_live(base: Path) -> ComponentError:
    shown = ", ".join(map(str, VersionsFolder(base).versions())) or "none"
    return ComponentError(
        f"{base} has no models.config. If it was lost, name the version to make live with "
        f"`rollback --to`. There are: {shown}"
    )


def _switch(
    base: Path,
    change: Callable[[VersionsFolder, Release | None], Intent],
    expected: Release | None,
    rollout: Rollout,
    *,
    urgent: bool,
) -> Intent:
    if not base.is_dir():
        raise ComponentError(f"nothing was pushed to {base} yet; run the pipeline first")
    folder = VersionsFolder(base)
    with locked(folder):
        before = read_release(base)
        if expected is not None and before != expected:
            shown = before.labels if before is not None else "nothing"
            raise ComponentError(
                f"the release in {base} has changed meanwhile: expected {expected.labels}, found "
                f"{shown}. Nothing was done; look at `versions` and try again"
            )
        intent = change(folder, before)
        with intended(folder, intent) as done:
            return done(rollout.release(base, before, intent.after, urgent=urgent))
