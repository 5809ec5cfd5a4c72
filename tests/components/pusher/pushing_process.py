"""Pushes as the executor does, but dies by SIGKILL before its n-th change of the disk.

python pushing_process.py MODEL BASE VERSION N
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from components.pusher.release import Release, read_release
from components.pusher.rollout import Followers, Rollout
from components.pusher.versions_folder import VersionsFolder

CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.copyfile", "shutil.copystat")


def die_before_change(number: int) -> None:
    """Python tells its audit hooks what it is about to do."""
    seen = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal seen
        writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGES or writes:
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

    sys.addaudithook(hook)


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
