"""What commands share: --config and --set, errors as one line, and being stopped."""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import click

from base.console import Failure, PlainConsole
from base.errors import ComponentError
from base.log_text import NotWithoutEnd, OneLine
from base.section import ConfigError
from pipeline.config import load_config

_WIDE = 200


def console() -> PlainConsole:
    """For what a command says. Into a file or a pipe lines are not broken at 80 columns."""
    width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", _WIDE))
    return PlainConsole(width=width)


def stop_event() -> threading.Event:
    """An event that Ctrl-C and SIGTERM set, in place of what they do; asked for by the main thread.

    A handler of `signal.signal` may not set it. It runs in the main thread, between two steps of
    whatever that does: if that is `stopping.wait()`, both want the event's lock, for ever; and it
    is not run at all while the main thread sleeps and the kernel gave the signal to another one.
    So a thread of its own waits for the byte that Python writes wherever the signal arrives.
    """
    stopping = threading.Event()
    reading, writing = os.pipe()  # open as long as the process is there
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)

    def listen() -> None:
        while (heard := os.read(reading, 1)) and heard[0] not in (signal.SIGINT, signal.SIGTERM):
            pass
        stopping.set()

    threading.Thread(target=listen, name="stop signals", daemon=True).start()
    return stopping


def _log_to_the_screen() -> None:
    """Warnings and worse, as lines of text, to standard error; unless somebody has set up more."""
    if not logging.getLogger().handlers:
        handler = logging.StreamHandler()
        handler.setLevel(logging.WARNING)
        handler.setFormatter(OneLine("%(message)s"))
        handler.addFilter(NotWithoutEnd())
        logging.getLogger().addHandler(handler)


def with_config(function: Callable[..., Any]) -> Callable[..., Any]:
    """A command whose first argument is the config."""

    @functools.wraps(function)
    def loaded(given: tuple[str, tuple[str, ...]], **arguments: Any) -> Any:
        return function(load_config(*given), **arguments)

    return with_config_options(loaded)


def with_config_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """A command whose first argument is the config's path and what `--set` changes, for commands
    that start others.
    """

    @click.option("--config", "path", required=True, help="As for local_runner.py.")
    @click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Changes one key.")
    @functools.wraps(function)
    def wrapped(path: str, overrides: tuple[str, ...], **arguments: Any) -> Any:
        _log_to_the_screen()
        try:
            return function((path, overrides), **arguments)
        except (ConfigError, ComponentError) as error:
            raise Failure(error) from None

    return wrapped
