"""`python -m dev_services`: the services in the foreground, until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Protocol

import click
from rich.console import Console
from rich.text import Text

from base.console import Failure, PlainConsole
from dev_services.hdfs import hdfs
from dev_services.kafka import kafka
from dev_services.mariadb import mariadb
from dev_services.postgresql import postgresql
from dev_services.process import ServiceError
from dev_services.s3 import s3


class Service(Protocol):
    """What every service's description can say."""

    def connection(self) -> str: ...


SERVICES: dict[str, Callable[[Path], AbstractContextManager[Service]]] = {
    "mariadb": mariadb,
    "postgresql": postgresql,
    "kafka": kafka,
    "hdfs": hdfs,
    "s3": s3,
}


@click.command(name="python -m dev_services")
@click.argument("names", nargs=-1, metavar="[mariadb|postgresql|kafka|hdfs|s3]...")
def main(names: tuple[str, ...]) -> None:
    """Runs real services on loopback until Ctrl-C; all of them, if none is named.

    Their data is in a temporary folder and goes with them.
    """
    for name in names:
        if name not in SERVICES:
            raise click.BadParameter(f"no service {name}; there are {', '.join(SERVICES)}")
    console = PlainConsole(soft_wrap=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have `... &` ignore it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds the stack, as Ctrl-C does
    try:
        serve(names or tuple(SERVICES), console)
    except ServiceError as error:
        raise Failure(error) from None
    except KeyboardInterrupt:
        click.echo("\nstopped")


def serve(names: tuple[str, ...], console: Console) -> None:
    """Starts services in a row, says how to connect to each, and waits to be interrupted."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dev-services-")))
        for name in dict.fromkeys(names):
            (folder / name).mkdir()
            started = time.monotonic()
            with console.status(f"starting {name}"):
                service = stack.enter_context(SERVICES[name](folder / name))
            seconds = f"({time.monotonic() - started:.1f} s)"
            console.print(
                Text.assemble(
                    (f"{name:<11}", "bold"), f" {service.connection()}  ", (seconds, "dim")
                )
            )
        # Not by rich: a Ctrl-C within its print leaves the line in its buffer, to be printed again.
        click.echo(f"logs and data are in {folder}; Ctrl-C stops everything and removes them")
        while True:
            time.sleep(1)  # signal.pause() would miss a Ctrl-C that comes just before it
