"""What commands on a config share: --config, --set, and errors as one line."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console

from components.errors import ComponentError
from pipeline.config import ConfigError, load_config

_WIDE = 200


def console() -> Console:
    """For what a command says. Into a file or a pipe lines are not broken at 80 columns."""
    width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", _WIDE))
    return Console(highlight=False, width=width)


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
        try:
            return function((path, overrides), **arguments)
        except (ConfigError, ComponentError) as error:
            raise click.ClickException(str(error)) from None

    return wrapped
