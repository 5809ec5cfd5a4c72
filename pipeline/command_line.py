"""Shared parts of the commands: --config and --set, one-line errors, and stop signals."""

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
from base.log_text import OneLineFormatter, RateLimit
from base.section import ConfigError
from pipeline.config import load_config

_WIDE = 200


def console() -> PlainConsole:
    """Returns the console of a command. Lines in a file or pipe are not broken at 80 columns."""
    width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", _WIDE))
    return PlainConsole(width=width)


def stop_event() -> threading.Event:
    """Returns an event that Ctrl-C and SIGTERM set instead of ending the process.

    Call it in the main thread. A handler of `signal.signal` cannot set the event. It runs in the
    main thread, so during `stopping.wait()` both would wait for the event's lock for ever. It also
    does not run while the main thread sleeps and another thread received the signal. A separate
    thread therefore waits for the byte that Python writes for each signal.
    """
    stopping = threading.Event()
    reading, writing = os.pipe()  # open until the process ends
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
    """Logs warnings and errors to standard error, unless logging is already set up."""
    if not logging.getLogger().handlers:
        handler = logging.StreamHandler()
        handler.setLevel(logging.WARNING)
        handler.setFormatter(OneLineFormatter("%(message)s"))
        handler.addFilter(RateLimit())
        logging.getLogger().addHandler(handler)


def with_config(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turns a function of a config into a command with --config and --set."""

    @functools.wraps(function)
    def loaded(given: tuple[str, tuple[str, ...]], **arguments: Any) -> Any:
        return function(load_config(*given), **arguments)

    return with_config_options(loaded)


def with_config_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --config and --set to a command that passes the path and overrides to other commands."""

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
