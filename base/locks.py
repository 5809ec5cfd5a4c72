"""Locks files between processes; a lock ends with the process that holds it.

It also works between machines that mount the folder by NFS, where an exclusive lock needs a file
open for writing, and a shared lock a file open for reading.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from base.errors import ComponentError

_RETRY_SECONDS = 0.1
_log = logging.getLogger(__name__)


class LockHeldError(ComponentError):
    """Another process holds a lock.

    Attributes:
      holder: Description of the process that holds it.
    """

    def __init__(self, text: str, holder: str):
        super().__init__(text)
        self.holder = holder


def acquire(path: Path, *, shared: bool = False) -> IO[bytes]:
    """Takes a lock without waiting for it.

    Args:
      path: Path of the lock file, which is made if it is missing.
      shared: Whether other processes may hold it at the same time, if they share it too.

    Returns:
      The open file. The lock is released when it is closed, as by `with acquire(path):`.

    Raises:
      LockHeldError: Another process holds the lock.
      OSError: The file cannot be opened, or its file system has no locks.
    """
    file = path.open("a+b", buffering=0)
    try:
        if not try_lock(file, shared=shared):
            file.seek(0)
            holder = file.read(200).decode("utf-8", "replace").strip() or "another process"
            raise LockHeldError(f"{holder} holds {path}", holder)
        file.truncate(0)
        if not shared:
            with contextlib.suppress(OSError):  # on a full disk the holder stays unknown
                file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
    except BaseException:
        file.close()
        raise
    return file


def acquire_within(
    path: Path, seconds: float, purpose: str, say: Callable[[str], None] = _log.warning
) -> IO[bytes]:
    """Takes a lock, and waits for it if necessary.

    Args:
      path: Path of the lock file, which is made if it is missing.
      seconds: Longest time to wait, in seconds.
      purpose: Activity of a holder, as in "process 12 on host, which PURPOSE".
      say: Function that reports, once, whom it waits for.

    Returns:
      The open file, as from `acquire`.

    Raises:
      LockHeldError: Another process held the lock all the time.
      OSError: The file cannot be opened, or its file system has no locks.
    """
    until, has_said = time.monotonic() + seconds, False
    while True:
        try:
            return acquire(path)
        except LockHeldError as error:
            holder = error.holder
        if not has_said:
            say(f"waiting for {holder}, which {purpose}")
            has_said = True
        if time.monotonic() >= until:
            raise LockHeldError(
                f"{holder} has held {path} for more than {seconds:.0f} s: nothing was changed. If "
                "it does not end, end it, and try again",
                holder,
            )
        time.sleep(_RETRY_SECONDS)


def is_held(path: Path) -> bool:
    """Returns whether a process holds a lock; without a lock file none does."""
    try:
        with path.open("r+b") as file:
            return not try_lock(file)
    except FileNotFoundError:
        return False


def try_lock(file: IO[Any], *, shared: bool = False) -> bool:
    """Locks an open file until it is closed, and returns whether that succeeded."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
