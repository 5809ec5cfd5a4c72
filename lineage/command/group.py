"""Defines the group of commands, their common options, and their output."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console, RenderableType
from rich.table import Table

from base.console import Failure, PlainConsole
from lineage.command.connect import DEFAULT_PATTERN, OpenedStore, open_database, open_sqlite
from metadata.reader import MetadataError

COMPLETE_VARIABLE = "_LINEAGE_COMPLETE"
_PIPE_WIDTH = 100_000  # a program gets lines that are neither cut nor wrapped
_STORE_OPTIONS = (
    click.option(
        "--store",
        type=click.Path(path_type=Path),
        help=f"SQLite file of ML Metadata.  [default: the newest {DEFAULT_PATTERN}]",
    ),
    click.option("--mysql", metavar="HOST:PORT/DATABASE", help="Read a MySQL store instead."),
    click.option(
        "--postgresql", metavar="HOST:PORT/DATABASE", help="Read a PostgreSQL store instead."
    ),
    click.option("--user", help="Database user."),
    click.option(
        "--password-env", metavar="NAME", help="Environment variable with the user's password."
    ),
    click.option(
        "--summaries",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        help="Folder of RUN/run_summary.json, for metrics.  [default: runs/ beside the store]",
    ),
)


_NAMES = ("store", "mysql", "postgresql", "user", "password_env", "summaries")


class _Commands(click.Group):
    """A group whose commands report errors in one line, with exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MetadataError as error:
            raise Failure(error) from error
        except OSError as error:  # for instance a folder without read permission
            where = f"{error.filename}: " if error.filename else ""
            raise Failure(
                f"{where}{error.strerror or error}; check the path, and who may read it"
            ) from error


def _store_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_STORE_OPTIONS):
        command = option(command)
    return command


def with_store(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the store's options, which may also precede the command, and opens the store."""

    @click.pass_context
    @functools.wraps(command)
    def opened(ctx: click.Context, /, **arguments: Any) -> None:
        given = {name: arguments.pop(name) for name in _NAMES}
        command(open_store(ctx, given), **arguments)

    return _store_options(opened)


def open_store(ctx: click.Context, given: Mapping[str, Any], *, quiet: bool = False) -> OpenedStore:
    """Opens the store that the options name.

    Args:
      ctx: Context with the options before the command.
      given: Options after the command; they win.
      quiet: Whether to leave out the note about which store was chosen.

    Raises:
      MetadataError: The store cannot be read, or the options contradict each other.
    """
    before = ctx.obj or (ctx.parent.params if ctx.parent else {})
    chosen = {n: before.get(n) if given.get(n) is None else given[n] for n in _NAMES}
    opened = _open(**chosen)
    if opened.note and not quiet:
        click.echo(opened.note, err=True)
    return opened


def _open(
    store: Path | None,
    mysql: str | None,
    postgresql: str | None,
    user: str | None,
    password_env: str | None,
    summaries: Path | None,
) -> OpenedStore:
    if len([given for given in (store, mysql, postgresql) if given]) > 1:
        raise MetadataError("give one of --store, --mysql and --postgresql")
    if mysql:
        opened = open_database("mysql", mysql, user, password_env)
    elif postgresql:
        opened = open_database("postgresql", postgresql, user, password_env)
    else:
        opened = open_sqlite(store)
    return dataclasses.replace(opened, summaries=summaries or opened.summaries)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@_store_options
@click.pass_context
def cli(ctx: click.Context, /, **options: Any) -> None:
    """Asks ML Metadata what a model was made from, and what was made from data.

    \b
    python -m lineage list                     the newest runs
    python -m lineage show latest              the components of the last run
    python -m lineage trace stable             the serving model, down to its source files
    python -m lineage impact latest            what was trained from the newest examples
    python -m lineage diff                     the last run and the one before
    python -m lineage served                   when each version served, and how many events
    python -m lineage gc                       artifacts that nothing needs any more
    python -m lineage report                   the last run as a page
    python -m lineage serve                    all runs as a page
    python -m lineage export --out -           the last run as OpenLineage events
    python -m lineage --store runs/NAME/metadata.sqlite list
    """
    ctx.obj = options


def console() -> Console:
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    return PlainConsole(width=width)


def show_on_screen(renderable: RenderableType) -> None:
    console().print(renderable)


def show_table(draw: Callable[[Collection[str]], Table], *, spare: Sequence[str]) -> None:
    """Shows as many columns as fit.

    Args:
      draw: Function that returns the table without the columns it is given.
      spare: Columns that a narrow terminal may lose, the least important first.
    """
    screen, gone = console(), list[str]()
    unlimited = screen.options.update(width=_PIPE_WIDTH)
    for name in spare:
        if screen.measure(draw(gone), options=unlimited).maximum <= screen.width:
            break
        gone.append(name)
    screen.print(draw(gone))
    if gone:
        click.echo(f"(a wider terminal shows {', '.join(gone)})", err=True)


def main() -> None:
    """Runs the command line; a character that the screen cannot show becomes '?'."""
    if sys.stdout is None:  # the caller closed it
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    cli(prog_name="python -m lineage", complete_var=COMPLETE_VARIABLE)
