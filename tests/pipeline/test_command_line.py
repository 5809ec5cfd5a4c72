"""What stops a command."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[2]

# The main thread sleeps without end and gets no signal: the kernel gives them to another thread.
_ASLEEP = """
import signal
from pipeline.command_line import stop_event
stopping = stop_event()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
print("asleep", flush=True)
stopping.wait()
print("stopped", flush=True)
stopping.wait()
"""
# The main thread is within the event, and holds its lock.
_WITHIN = """
import os, signal, time
from pipeline.command_line import stop_event
stopping = stop_event()
print("asleep", flush=True)
with stopping._cond:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.2)
stopping.wait()
print("stopped", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_another_thread_gets_stops_the_main_thread(number: int) -> None:
    with _running(_ASLEEP) as process:
        process.send_signal(number)
        said, _ = process.communicate(timeout=30)
    assert (said, process.returncode) == ("stopped\n", 0)


def test_a_signal_within_the_wait_for_one() -> None:
    with _running(_WITHIN) as process:
        said, _ = process.communicate(timeout=30)
    assert (said, process.returncode) == ("stopped\n", 0)


def test_a_second_signal_does_no_harm() -> None:
    with _running(_ASLEEP.replace("stopping.wait()", "stopping.wait(); input()", 1)) as process:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate("\n", timeout=30)
    assert (said, process.returncode) == ("stopped\n", 0)


@contextlib.contextmanager
def _running(code: str) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "asleep\n"
            yield process
        finally:
            process.kill()
