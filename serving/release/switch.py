"""Promotes the canary, or goes back: what models.config says, in steps that servers accept."""

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
      base: folder of the versions.
      expected: what has to be live; None: whatever is.
      rollout: makes the change; default: one that knows no server by name.
      switch_id: of `intents.new_id`; default: a new one.

    Returns:
      What was done; still to be recorded in ML Metadata.

    Raises:
      ComponentError: there is no canary, something else is live, or a server could not load the
        canary; what is live is as it was then.
    """

    def change(folder: VersionsFolder, before: Release | None) -> Intent:
        if before is None:
            raise _nothing_live(base)
        if before.canary is None:
            raise ComponentError(
                f"there is no canary to promote: version {before.stable} is live for all. "
                "`serving.release: canary` in the config has the next push be one"
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
    """Undoes what became live last: the canary where there is one, else the stable version.

    A version that is live as `previous` takes over at once. Another one is loaded before.

    Args:
      base: folder of the versions.
      to: the version to be stable instead; what is newer is withdrawn.
      reason: kept beside a version that is withdrawn.
      expected: what has to be live; None: whatever is.
      rollout: makes the change; default: one that knows no server by name.
      switch_id: of `intents.new_id`; default: a new one.

    Returns:
      What was done; still to be recorded in ML Metadata.

    Raises:
      ComponentError: there is nothing to go back to, no such version, something else is live, or
        a server cannot load the version; what is live is as it was then.
    """

    name = switch_id or new_id(ROLLBACK)

    def change(folder: VersionsFolder, before: Release | None) -> Intent:
        if before is None:
            return dataclasses.replace(_anew(folder, to, name), reason=reason)
        if to is None and before.canary is not None:
            after = dataclasses.replace(before, canary=None)
            gone = {before.canary: reason}
            return Intent(name, ROLLBACK, before, after, gone, reason=reason)
        target = before.previous if to is None else to
        usable = [v for v in folder.versions() if v == to or folder.withdrawn(v) is None]
        if target is None or target not in usable:
            others = ", ".join(str(v) for v in usable if v != before.stable)
            wanted = "there is no version to go back to" if to is None else f"no version {to}"
            if not others:
                raise ComponentError(
                    f"{wanted} in {base}: version {before.stable} is the only one that may be "
                    "live, until the pipeline has pushed another"
                )
            raise ComponentError(f"{wanted} in {base}; there are: {others}. Name one with --to")
        older = [version for version in usable if version < target]
        after = Release(target, previous=max(older, default=None))
        live = [v for v in before.labels.values() if v > target]
        gone = dict.fromkeys(live, reason)
        return Intent(name, ROLLBACK, before, after, gone, reason=reason)

    return _switch(base, change, expected, rollout or Rollout(), urgent=True)


def _anew(folder: VersionsFolder, to: int | None, name: str) -> Intent:
    """A models.config that was lost, with the version that a person names."""
    if to is None or to not in folder.versions():
        raise _nothing_live(folder.base)
    return Intent(name, ROLLBACK, None, Release(to))


def _nothing_live(base: Path) -> ComponentError:
    shown = ", ".join(map(str, VersionsFolder(base).versions())) or "none"
    return ComponentError(
        f"{base} has no models.config. If it was lost, name the version that shall be live: "
        f"`rollback --to`; there are: {shown}"
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
                f"what is live in {base} has changed meanwhile ({shown} instead of "
                f"{expected.labels}): nothing was done; look again"
            )
        intent = change(folder, before)
        with intended(folder, intent) as done:
            return done(rollout.release(base, before, intent.after, urgent=urgent))
