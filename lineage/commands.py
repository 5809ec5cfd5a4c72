"""The command line: `python -m lineage list | show | trace | impact`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console, RenderableType

from lineage import render
from lineage.as_json import to_json
from lineage.connect import DEFAULT_PATTERN, Opened, open_mysql, open_sqlite
from lineage.impact import find_examples, impact
from lineage.listing import run_lines
from lineage.records import Artifact, Execution, Run
from lineage.render_trace import trace_tree
from lineage.store import LineageError, LineageStore
from lineage.trace import trace
from lineage.walk import edges_of_artifacts, makers

_PIPE_WIDTH = 100_000  # nothing is cut or wrapped when a program reads it
_STORE_OPTIONS = (
    click.option(
        "--store",
        type=click.Path(path_type=Path),
        help=f"SQLite file of ML Metadata.  [default: the newest {DEFAULT_PATTERN}]",
    ),
    click.option("--mysql", metavar="HOST:PORT/DATABASE", help="Read a MySQL store instead."),
    click.option("--user", help="MySQL user."),
    click.option(
        "--password-env", metavar="NAME", help="Environment variable with the MySQL password."
    ),
    click.option(
        "--summaries",
        type=click.Path(path_type=Path),
        help="Folder of RUN/run_summary.json, for metrics.  [default: runs/ beside the store]",
    ),
)


class _Commands(click.Group):
    """An error of ours is one line and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LineageError as error:
            raise click.ClickException(str(error)) from error


def _store_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_STORE_OPTIONS):
        command = option(command)
    return command


def _with_store(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the store's options, which may also stand before the command, and opens the store."""

    @click.pass_context
    @functools.wraps(command)
    def opened(ctx: click.Context, /, **arguments: Any) -> None:
        names = ("store", "mysql", "user", "password_env", "summaries")
        given = {name: arguments.pop(name) for name in names}
        before = ctx.obj or {}
        command(
            _open(**{n: before.get(n) if v is None else v for n, v in given.items()}), **arguments
        )

    return _store_options(opened)


def _open(
    store: Path | None,
    mysql: str | None,
    user: str | None,
    password_env: str | None,
    summaries: Path | None,
) -> Opened:
    if mysql and store:
        raise LineageError("give either --store or --mysql, not both")
    opened = open_mysql(mysql, user, password_env) if mysql else open_sqlite(store)
    if opened.note:
        click.echo(opened.note, err=True)
    return Opened(opened.store, summaries or opened.summaries)


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
    python -m lineage trace latest             the served model, down to its source files
    python -m lineage impact latest            what was trained from the newest examples
    python -m lineage trace 1795565929 --json  by version, for a program
    python -m lineage --store runs/ctr/metadata.sqlite list
    """
    ctx.obj = options


@cli.command("list")
@_with_store
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Runs.")
@click.option("--json", "as_json", is_flag=True, help="For a program.")
def list_runs(opened: Opened, /, limit: int, as_json: bool) -> None:
    """Lists runs, newest first: state, components, span and pushed version.

    \b
    python -m lineage list --limit 5
    python -m lineage list --json | jq '.[] | select(.state == "failed") | .run_id'
    """
    lines = run_lines(opened.store, limit)
    if as_json:
        click.echo(to_json(lines))
        return
    _print(render.run_table(lines))


@cli.command()
@_with_store
@click.argument("identifier", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="For a program.")
def show(opened: Opened, /, identifier: str, as_json: bool) -> None:
    """Shows a run, an execution or an artifact.

    ID is run:NAME, execution:NUMBER or artifact:NUMBER; 'latest' is the last run; a number alone is
    an artifact if there is one of that number, else an execution.

    \b
    python -m lineage show latest
    python -m lineage show artifact:12
    python -m lineage show execution:7 --json
    """
    found, note = find(opened.store, identifier)
    if note:
        click.echo(note, err=True)
    if as_json:
        click.echo(to_json({"kind": type(found).__name__.lower(), **_fields(found)}))
        return
    _print(_shown(opened.store, found))


@cli.command("trace")
@_with_store
@click.argument("pushed_model", metavar="[PUSHED_MODEL|latest]", default="latest")
@click.option("--files", is_flag=True, help="List every source file.")
@click.option("--json", "as_json", is_flag=True, help="For a program; always has every file.")
def trace_model(opened: Opened, /, pushed_model: str, files: bool, as_json: bool) -> None:
    """Traces a served model down to the source files it was made from.

    PUSHED_MODEL is an artifact id, a version, or the folder it was pushed to.

    \b
    python -m lineage trace latest
    python -m lineage trace 1795565929 --files
    python -m lineage trace latest --json | jq '.datasets[].accounts'
    """
    found = trace(opened.store, pushed_model, opened.summaries)
    if as_json:
        click.echo(to_json(found))
        return
    console = _console()
    console.print(
        trace_tree(found, all_files=files, ticks=not console.options.ascii_only), soft_wrap=False
    )


@cli.command("impact")
@_with_store
@click.argument("examples", metavar="[EXAMPLES|latest]", default="latest")
@click.option("--json", "as_json", is_flag=True, help="For a program.")
def impact_of(opened: Opened, /, examples: str, as_json: bool) -> None:
    """Shows what was trained from examples: models, evaluations, pushed versions, runs.

    EXAMPLES is an artifact id; any other artifact's id works, too.

    \b
    python -m lineage impact latest
    python -m lineage impact 3 --json | jq '.pushes[].version'
    """
    found = impact(opened.store, find_examples(opened.store, examples))
    if as_json:
        click.echo(to_json(found))
        return
    _print(render.impact_tree(found))


def find(store: LineageStore, identifier: str) -> tuple[Run | Execution | Artifact, str | None]:
    """What an ID of `show` means, and what else it could have meant.

    Raises:
      LineageError: nothing has this id.
    """
    kind, _, rest = identifier.partition(":")
    if kind == "run" and rest:
        return store.run(rest), None
    if kind in ("artifact", "execution") and rest:
        if not rest.isdecimal():
            raise LineageError(f"'{rest}' is no number; write e.g. {kind}:12")
        number = int(rest)
        return (store.artifact(number) if kind == "artifact" else store.execution(number)), None
    if not identifier.isdecimal():
        return store.run(identifier), None
    number = int(identifier)
    artifact = store.artifacts([number]).get(number)
    if artifact is None:
        return store.execution(number), None
    also = f"there is an execution {number}, too: python -m lineage show execution:{number}"
    return artifact, also if store.states([number]) else None


def _fields(found: Run | Execution | Artifact) -> dict[str, Any]:
    fields = {name: getattr(found, name) for name in found.__dataclass_fields__}
    if isinstance(found, Run):
        fields |= {"state": found.state, "seconds": found.seconds}
    return fields


def _shown(store: LineageStore, found: Run | Execution | Artifact) -> RenderableType:
    if isinstance(found, Run):
        return render.run_tree(found)
    if isinstance(found, Execution):
        sides = (found.inputs, found.outputs, found.resolved)
        ids = [i for side in sides for ids in side.values() for i in ids]
        return render.execution_tree(found, store.artifacts(ids))
    made = {edge.execution_id for edge in makers(store, [found.id])}
    read = {e.execution_id for e in edges_of_artifacts(store, [found.id]) if e.kind == "input"}
    executions = store.executions(made | read)
    maker = next((executions[i] for i in made if i in executions), None)
    return render.artifact_tree(
        found, maker, [executions[i] for i in sorted(read & set(executions))]
    )


def _console() -> Console:
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    return Console(width=width, markup=False, highlight=False, emoji=False)


def _print(renderable: RenderableType) -> None:
    _console().print(renderable)


def main() -> None:
    """The entry point: a screen that cannot show a character shows '?' for it."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    cli(prog_name="python -m lineage")
