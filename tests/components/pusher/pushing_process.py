"""Pushes as the executor does, but dies by SIGKILL before its n-th change of the disk.

python pushing_process.py MODEL BASE VERSION N
"""

from __future__ import annotations

import sys
from pathlib import Path

from components.pusher.release import Release, read_release
from components.pusher.rollout import Followers, Rollout
from components.pusher.versions_folder import VersionsFolder
from tests.dying import die_before_change


def push(model: Path, base: Path, version: int) -> None:
    folder = VersionsFolder(base)
    with folder.locked():
        found = folder.find(model)
        if found is None:
            folder.publish(model, version, None, lambda _: None)
        before = read_release(base)
        now = before.with_stable(found or version) if before else Release(found or version)
        Rollout(Followers(follow_seconds=0)).release(base, before, now)
        folder.retire(1, {*now.labels.values()})


if __name__ == "__main__":
    die_before_change(int(sys.argv[4]))
    push(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
