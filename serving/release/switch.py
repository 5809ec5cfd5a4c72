"""Promotes the canary, or goes back: what models.config says, in steps that servers accept."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

from components.errors import ComponentError
from components.pusher.release import Release, read_release
from components.pusher.rollout import Rollout
from components.pusher.versions_folder import VersionsFolder


@dataclasses.dataclass(frozen=True)
class Switch:
    """What a promotion or rollback did.

    Attributes:
      kind: Promotion or Rollback.
      before, after: what was live, and what is.
      withdrawn: version -> reason; what does not come back by being pushed again.
    """

    kind: str
    before: Release
    after: Release
    withdrawn: dict[int, str]


def promote(base: Path, expected: Release | None = None, rollout: Rollout | None = None) -> Switch:
    """Makes the canary stable.

    Args:
      base: folder of the versions.
      expected: what has to be live; None: whatever is.
      rollout: makes the change; default: one that knows no server by name.

    Raises:
      ComponentError: there is no canary, something else is live, or a server could not load the
        canary; what is live is as it was then.
    """

    def change(folder: VersionsFolder, before: Release) -> Switch:
        if before.canary is None:
            raise ComponentError(
                f"there is no canary to promote: version {before.stable} is live for all. "
                "`serving.release: canary` in the config has the next push be one"
            )
        return Switch("Promotion", before, before.with_stable(before.canary), {})

    return _switch(base, change, expected, rollout or Rollout(), urgent=False)


def rollback(
    base: Path,
    to: int | None,
    reason: str,
    expected: Release | None = None,
    rollout: Rollout | None = None,
) -> Switch:
    """Undoes what became live last: the canary where there is one, else the stable version.

    A version that is live as `previous` takes over at once. Another one is loaded before.

    Args:
      base: folder of the versions.
      to: the version to be stable instead; what is newer is withdrawn.
      reason: kept beside a version that is withdrawn.
      expected: what has to be live; None: whatever is.
      rollout: makes the change; default: one that knows no server by name.

    Raises:
      ComponentError: there is nothing to go back to, no such version, something else is live, or
        a server cannot load the version; what is live is as it was then.
    """

    def change(folder: VersionsFolder, before: Release) -> Switch:
        if to is None and before.canary is not None:
            after = dataclasses.replace(before, canary=None)
            return Switch("Rollback", before, after, {before.canary: reason})
        target = before.previous if to is None else to
        usable = [v for v in folder.versions() if v == to or folder.withdrawn(v) is None]
        if target is None or target not in usable:
            shown = ", ".join(str(v) for v in usable if v != before.stable) or "none"
            wanted = "there is no version to go back to" if to is None else f"no version {to}"
            raise ComponentError(f"{wanted} in {base}; there are: {shown}. Name one with --to")
        older = [version for version in usable if version < target]
        after = Release(target, previous=max(older, default=None))
        live = [v for v in before.labels.values() if v > target]
        return Switch("Rollback", before, after, dict.fromkeys(live, reason))

    return _switch(base, change, expected, rollout or Rollout(), urgent=True)


def _switch(
    base: Path,
    change: Callable[[VersionsFolder, Release], Switch],
    expected: Release | None,
    rollout: Rollout,
    *,
    urgent: bool,
) -> Switch:
    if not base.is_dir():
        raise ComponentError(f"nothing was pushed to {base} yet; run the pipeline first")
    folder = VersionsFolder(base)
    with folder.locked():
        before = read_release(base)
        if before is None:
            raise ComponentError(f"{base} has no models.config: nothing was pushed there yet")
        if expected is not None and before != expected:
            raise ComponentError(
                f"what is live in {base} has changed meanwhile ({before.labels} instead of "
                f"{expected.labels}): nothing was done; look again"
            )
        switch = change(folder, before)
        with _marked(folder, switch):
            after = rollout.release(base, before, switch.after, urgent=urgent)
    return dataclasses.replace(switch, after=after)


@contextlib.contextmanager
def _marked(folder: VersionsFolder, switch: Switch) -> Iterator[None]:
    """Marks what is withdrawn, before it stops being live: a kill in between must not lose that.

    The marks are as they were if the block fails and nothing was released.
    """
    stable = switch.after.stable
    withdrawn = folder.withdrawn(stable)
    folder.reinstate(stable)
    for version, reason in switch.withdrawn.items():
        folder.withdraw(version, reason)
    try:
        yield
    except BaseException:
        if read_release(folder.base) == switch.before:
            for version in switch.withdrawn:
                folder.reinstate(version)
            if withdrawn is not None:
                folder.withdraw(stable, withdrawn)
        raise
