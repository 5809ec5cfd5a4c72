"""Processes of the loop, by dev_services/process.py: they end with us."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from dev_services.process import running


def module(name: str, arguments: Sequence[str]) -> list[str]:
    """The command line of `python -m NAME ARGUMENTS`."""
    return [sys.executable, "-m", name, *arguments]


@contextlib.contextmanager
def model_server(arguments: Sequence[str], folder: Path, name: str) -> Iterator[str]:
    """Yields host:port of gRPC.

    Args:
      arguments: of `python -m serving serve`, but for the ports.
      folder: for its log.
      name: of the log.
    """
    ports, log = folder / f"{name}-ports.json", folder / f"{name}.log"
    ports.unlink(missing_ok=True)
    flags = ["--port", "0", "--rest-api-port", "0", "--port-file", str(ports)]
    command = module("serving", ["serve", *arguments, *flags])
    with running(f"the model server {name}", command, log, ports.exists):
        yield f"127.0.0.1:{json.loads(ports.read_text('utf-8'))['grpc']}"
