"""Kafka's topics, ingest, model servers: started, waited for, ended with us."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from components.errors import ComponentError
from streaming.layout import STREAMS

_PATIENCE_S = 90
_LOOK_S = 0.1


def create_topics(bootstrap_servers: str) -> None:
    """One partition each: a day of this site is little."""
    client = AdminClient({"bootstrap.servers": bootstrap_servers})
    made = client.create_topics([NewTopic(stream, num_partitions=1) for stream in STREAMS])
    for future in made.values():
        future.result(timeout=_PATIENCE_S)


@contextlib.contextmanager
def running(module: str, arguments: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m MODULE ARGUMENTS` until the block ends; the kernel ends it with us."""
    bound = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*bound, sys.executable, "-m", module, *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


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
    with running("serving", ["serve", *arguments, *flags], log) as process:
        until(ports.exists, f"the model server {name}", process, log)
        yield f"127.0.0.1:{json.loads(ports.read_text('utf-8'))['grpc']}"


def until(
    there: Callable[[], bool],
    what: str,
    process: subprocess.Popen[bytes] | None = None,
    log: Path | None = None,
    seconds: float = _PATIENCE_S,
) -> None:
    """Waits.

    Raises:
      ComponentError: it takes too long, or the process that should bring it about has ended.
    """
    end = time.monotonic() + seconds
    while not there():
        ended = process is not None and process.poll() is not None
        if ended or time.monotonic() > end:
            why = "ended" if ended else f"has not come within {seconds:g} s"
            raise ComponentError(f"{what} {why}{'; see ' + str(log) if log else ''}")
        time.sleep(_LOOK_S)
