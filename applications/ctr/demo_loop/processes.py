"""Starts processes of the loop, which end with it."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from dev_services.process import running


def module(name: str, arguments: Sequence[str]) -> list[str]:
    """Returns the command line of `python -m NAME ARGUMENTS`."""
    return [sys.executable, "-m", name, *arguments]


@contextlib.contextmanager
def model_server(arguments: Sequence[str], folder: Path, name: str) -> Iterator[str]:
    """Runs a model server, and yields its gRPC address as host:port.

    Args:
      arguments: Arguments of `python -m serving serve`, without ports.
      folder: Folder for the log.
      name: Name of the log.
    """
    ports, log = folder / f"{name}-ports.json", folder / f"{name}.log"
    ports.unlink(missing_ok=True)
    flags = ["--port", "0", "--rest-api-port", "0", "--port-file", str(ports)]
    command = module("serving", ["serve", *arguments, *flags])
    with running(f"the model server {name}", command, log, ports.exists):
        yield f"127.0.0.1:{json.loads(ports.read_text('utf-8'))['grpc']}"
