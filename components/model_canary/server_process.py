"""Runs a model server in a separate process on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from base.errors import ComponentError

NAME = "candidate"


@contextlib.contextmanager
def server_process(module: str, model: Path, folder: Path, start_seconds: float) -> Iterator[str]:
    """Serves one model, named NAME.

    Args:
      module: Module of the server, started by `python -m MODULE serve`.
      model: Folder of the SavedModel.
      folder: Folder for the server's log and the link to the model.
      start_seconds: Longest start of the server, in seconds.

    Yields:
      host:port of gRPC.

    Raises:
      ComponentError: The server does not start.
    """
    base, ports, log = folder / NAME, folder / "ports.json", folder / "server.log"
    base.mkdir()
    (base / "1").symlink_to(model.resolve(), target_is_directory=True)
    # The kernel kills the server when this process ends in any way.
    bound = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
    command = [*bound, sys.executable, "-m", module, "serve", "--model-name", NAME]
    command += ["--model-base-path", str(base), "--port", "0", "--rest-api-port", "0"]
    command += ["--port-file", str(ports)]
    paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": paths},
            start_new_session=True,
        )
        try:
            until = time.monotonic() + start_seconds
            while not ports.exists():
                if process.poll() is not None:
                    raise ComponentError(f"the model server ended: {_last_line(log)}")
                if time.monotonic() > until:
                    raise ComponentError(
                        f"the model server did not start within {start_seconds:g} s: "
                        f"{_last_line(log)}"
                    )
                time.sleep(0.1)
            yield f"127.0.0.1:{json.loads(ports.read_text('utf-8'))['grpc']}"
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"
