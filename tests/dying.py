"""Kills the process that asks for it, by SIGKILL, before its n-th change of the disk."""

from __future__ import annotations

import os
import signal
import sys

CHANGES = (
    "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.copyfile",
    "shutil.copystat",
)  # fmt: skip


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
