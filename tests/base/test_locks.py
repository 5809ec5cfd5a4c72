"""One process at a time; who holds a lock is named, and a dead process holds none."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from base.locks import LockHeldError, acquire, acquire_within, is_held, try_lock
from tests.product import ROOT

pytestmark = pytest.mark.unit

HOLD = """
import sys, time
from pathlib import Path
from base.locks import acquire
lock = acquire(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""
ME = f"process {os.getpid()} on {socket.gethostname()}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".lock"


def test_a_lock_is_held_by_one_and_free_when_it_is_closed(path: Path) -> None:
    assert not is_held(path)
    assert not path.exists()  # asking makes no file
    with acquire(path):
        assert is_held(path)
        with pytest.raises(LockHeldError, match=f"{ME} holds {path}"):
            acquire(path)
    assert not is_held(path)
    acquire(path).close()


def test_shared_locks_exclude_only_exclusive_ones(path: Path) -> None:
    acquire(path).close()  # writes down who held it
    with acquire(path, shared=True), acquire(path, shared=True):
        with pytest.raises(LockHeldError, match="another process holds"):
            acquire(path)
        assert is_held(path)
    with acquire(path), pytest.raises(LockHeldError):
        acquire(path, shared=True)


def test_a_process_that_is_killed_holds_no_lock(path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], cwd=ROOT, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(LockHeldError, match=f"process {process.pid} on "):
            acquire(path)
        process.kill()
        process.wait()
    acquire(path).close()


def test_whoever_waits_says_once_for_whom(path: Path) -> None:
    said: list[str] = []
    held = acquire(path)
    threading.Timer(0.4, held.close).start()
    with acquire_within(path, 30, "changes the model", said.append):
        assert is_held(path)
    assert said == [f"waiting for {ME}, which changes the model"]


def test_a_lock_that_is_free_is_taken_without_a_word(path: Path) -> None:
    said: list[str] = []
    acquire_within(path, 30, "changes the model", said.append).close()
    assert said == []


def test_the_wait_has_an_end_which_names_the_holder(path: Path) -> None:
    began = time.monotonic()
    with acquire(path), pytest.raises(LockHeldError) as caught:
        acquire_within(path, 0.3, "changes the model", lambda _: None)
    assert time.monotonic() - began < 10
    assert str(caught.value) == (
        f"{ME} has held {path} for more than 0 s: nothing was changed. If it does not end, end it, "
        "and try again"
    )
    assert caught.value.holder == ME


def test_a_file_that_is_open_is_locked_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    with path.open("wb") as file:
        assert try_lock(file)
        file.write(b"line\n")
        file.flush()
        with path.open("r+b") as other:
            assert not try_lock(other)
    assert path.read_bytes() == b"line\n"


def test_a_lock_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        acquire(tmp_path / "missing" / ".lock")
