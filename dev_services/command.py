"""Runs services in the foreground until Ctrl-C: `python -m dev_services`."""

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
from dev_services.redis_server import redis_server
from dev_services.s3 import s3


class Service(Protocol):
    """A running service."""

    def connection(self) -> str: ...


SERVICES: dict[str, Callable[[Path], AbstractContextManager[Service]]] = {
    "mariadb": mariadb,
    "postgresql": postgresql,
    "kafka": kafka,
    "hdfs": hdfs,
    "s3": s3,
    "redis": redis_server,
}


@click.command(name="python -m dev_services")
@click.argument("names", nargs=-1, metavar="[mariadb|postgresql|kafka|hdfs|s3|redis]...")
def main(names: tuple[str, ...]) -> None:
    """Runs real services on loopback until Ctrl-C, by default all of them.

    Their data is in a temporary folder, which is removed at the end.
    """
    for name in names:
        if name not in SERVICES:
            raise click.BadParameter(f"no service {name}; there are {', '.join(SERVICES)}")
    console = PlainConsole(soft_wrap=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # `... &` ignores it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds the stack like Ctrl-C
    try:
        serve(names or tuple(SERVICES), console)
    except ServiceError as error:
        raise Failure(error) from None
    except KeyboardInterrupt:
        click.echo("\nstopped")


def serve(names: tuple[str, ...], console: Console) -> None:
    """Starts services one by one, prints how to connect, and waits for an interrupt."""
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
        # Not printed by rich: after Ctrl-C in its print, the buffered line would be printed again.
        click.echo(f"logs and data are in {folder}; Ctrl-C stops everything and removes them")
        while True:
            time.sleep(1)  # signal.pause() would miss a Ctrl-C just before it
