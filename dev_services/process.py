"""Starts a server process, waits until it is ready, and stops it in any case."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

LOOPBACK = "127.0.0.1"
LINES_SHOWN = 15
STOP_WITHIN_SECONDS = 20


class ServiceError(RuntimeError):
    """A service cannot be started; the text has its name, the reason and its last log lines."""


@contextmanager
def running(
    name: str,
    command: Sequence[str],
    log: Path,
    ready: Callable[[], bool],
    *,
    within_seconds: float = 60,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    ask: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a server until the block ends; enters the block when the server is ready.

    The kernel kills the server when the thread that started it ends (PR_SET_PDEATHSIG), even after
    a `kill -9`. So start services from a thread that outlives them.

    Args:
      name: Name of the server in errors.
      command: Program and its arguments.
      log: Path of the file that gets its output.
      ready: Function that is called until it returns True.
      within_seconds: Seconds within which it must be ready.
      environment: Variables besides those of this process.
      folder: Working directory.
      ask: Signal that asks it to stop in order.

    Raises:
      ServiceError: It ended before it was ready, or was not ready in time.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            cwd=folder,
            start_new_session=True,  # Ctrl-C reaches only this process, which stops it in order
        )
    try:
        wait_until_ready(name, process, log, ready, within_seconds)
        yield process
    finally:
        stop(process, ask)


def wait_until_ready(
    name: str,
    process: subprocess.Popen[bytes],
    log: Path,
    ready: Callable[[], bool],
    within_seconds: float,
) -> None:
    """Waits for a server; raises ServiceError with its last log lines if it does not start."""
    deadline = time.monotonic() + within_seconds
    while not ready():
        if process.poll() is not None:
            raise ServiceError(f"{name} ended with {process.returncode}:\n{last_lines(log)}")
        if time.monotonic() > deadline:
            raise ServiceError(
                f"{name} was not ready within {within_seconds:.0f} s:\n{last_lines(log)}"
            )
        time.sleep(0.1)


def stop(process: subprocess.Popen[bytes], ask: signal.Signals) -> None:
    """Stops a server, in order if possible, and waits until it has ended."""
    if process.poll() is None:
        process.send_signal(ask)
    try:
        process.wait(STOP_WITHIN_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run_tool(name: str, command: Sequence[str], log: Path, text: str = "") -> None:
    """Runs a program that prepares a service.

    Raises:
      ServiceError: The program failed.
    """
    with log.open("ab") as output:
        done = subprocess.run(
            command,
            check=False,
            input=text.encode(),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    if done.returncode:
        raise ServiceError(f"{name} could not be prepared ({command[0]}):\n{last_lines(log)}")


def last_lines(log: Path) -> str:
    """Returns the end of a log, indented."""
    lines = log.read_text(errors="replace").splitlines()[-LINES_SHOWN:] if log.exists() else []
    return "\n".join(f"  {line}" for line in lines or ["(its log is empty)"])


def free_ports(count: int) -> list[int]:
    """Returns distinct ports on which no process listens now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]


def listens(port: int) -> bool:
    """Returns whether a process listens on a port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def find_program(name: str, package: str, folders: Sequence[Path] = ()) -> str:
    """Returns a program's path, from PATH, /usr/sbin or the given folders.

    Raises:
      ServiceError: It was not found.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", *map(str, folders)])
    program = shutil.which(name, path=path)
    if program is None:
        raise ServiceError(f"no {name}: install {package}")
    return program
