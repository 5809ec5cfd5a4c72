"""`python -m applications new`: writes an application from a table."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shlex
import sys
from pathlib import Path
from typing import get_args

import click

from applications.commands.group import (
    main,
    one_line_errors,
    result_console,
    run_command,
    shown_progress,
)
from base.console import PlainConsole
from base.errors import ComponentError
from tabular.feature_set import TaskName

_PROJECT = Path(__file__).resolve().parents[2]


@main.command()
@click.argument("name")
@click.option("--from", "given", required=True, metavar="FILE", help="File, folder or pattern.")
@click.option("--label", required=True, metavar="COLUMN", help="Column to predict.")
@click.option(
    "--task",
    type=click.Choice(get_args(TaskName)),
    help="What kind of label it is.  [default: by its values]",
)
@click.option(
    "--into",
    type=click.Path(path_type=Path),
    help="Folder for the package, on Python's path.  [default: applications/]",
)
@one_line_errors
def new(name: str, given: str, label: str, task: TaskName | None, into: Path | None) -> None:
    """Writes a small application that predicts a column of a table.

    \b
    Examples:
      python -m applications new churn --from data/churn.csv --label Churned
      python -m applications new prices --from 'sales/*.parquet' --label price --task regression
      python -m applications new churn --from churn.jsonl --label churned --into ~/models

    FILE is csv with a header, JSON lines or Parquet. Spark looks at all rows and values. The
    application is two files of Python, a config and a README, in applications/NAME. What could not
    be decided from the data is in their comments. Nothing is overwritten.
    """
    # Later, so that --help does not wait for Spark and scikit-learn.
    from applications.commands.scaffold import data_files, plan, profile, writing
    from spark_io.jobs.parent import run_in_child

    writing.check_name(name)
    folder, package = _place(name, into)
    schema = (Path("schemas") if into is None else folder) / f"{name}.pbtxt"
    if folder.exists():
        raise ComponentError(f"{folder} exists and is not overwritten; choose another NAME")
    files = data_files.find_data_files(given)
    with shown_progress():
        answer = run_in_child(
            "applications.commands.scaffold.profile_job",
            {"files": dataclasses.asdict(files), "label": label},
        )
    found = profile.TableProfile.from_json(answer["profile"])
    made = plan.make_plan(found, files.format, label, task, answer["skills"])
    contents = writing.render(name, package, str(schema), files, found, made)
    writing.write(folder, contents)
    _check_import(folder, package)
    commands = next_commands(name, folder, into is None)
    _show(result_console(), given, found, made, folder, commands)


def _place(name: str, into: Path | None) -> tuple[Path, str]:
    """Returns the folder of a new package, as a user would write it, and its dotted path."""
    if into is None:
        return Path(os.path.relpath(_PROJECT / "applications" / name)), f"applications.{name}"
    if importlib.util.find_spec(name) is not None:
        raise ComponentError(
            f"NAME: Python already has a package or module '{name}'; choose another name"
        )
    return into.expanduser() / name, name


def next_commands(name: str, folder: Path, is_ours: bool) -> list[str]:
    """Returns the commands that follow `new`."""
    config = str(folder / "configs" / f"{name}.yaml")
    which = name if is_ours else f"--config {shlex.quote(config)}"
    return [
        f"python -m applications schema {which}",
        f"python -m applications check {which}",
        f"python -m applications try {which}",
        run_command(config),
    ]


def _check_import(folder: Path, package: str) -> None:
    """Loads the application as a run does, and removes it if it cannot be loaded."""
    from applications.commands.scaffold import writing
    from pipeline.application import load_application

    if "." not in package and str(folder.parent.resolve()) not in sys.path:
        sys.path.append(str(folder.parent.resolve()))
    importlib.invalidate_caches()
    try:
        load_application(package)
    except Exception:
        writing.remove(folder)
        raise


def _show(
    console: PlainConsole,
    given: str,
    profile: object,
    plan: object,
    folder: Path,
    commands: list[str],
) -> None:
    from applications.commands.scaffold.plan import Plan
    from applications.commands.scaffold.profile import TableProfile

    assert isinstance(plan, Plan)
    assert isinstance(profile, TableProfile)
    columns = len(profile.columns) + len(profile.unusable)
    console.print(f"{given}: {profile.rows:,} rows, {columns} columns")
    console.print(f"task       {plan.task}, {plan.reason}")
    for text, number in list(plan.labels.items())[:10]:
        console.print(f"           label {number} is {text!r}, {profile.labels[text]:,} rows")
    key = plan.key
    console.print(
        f"key        {key.column!r}, which has another value in each row"
        if key
        else "key        none: no column has another value in each row; the split is by whole rows"
    )
    counts = {kind: len(plan.having(kind)) for kind in ("number", "text")}
    console.print(f"features   numbers: {counts['number']}, categories: {counts['text']}")
    for one in plan.having("time"):
        console.print(f"time       {one.column!r} is carried along, and not learned from")
    for one in plan.having("left out"):
        console.print(f"left out   {one.column!r} {one.note.partition(';')[0]}")
    for warning in plan.warnings:
        console.print(f"Warning: {warning}", style="yellow")
    console.print(f"wrote {folder}. Next:")
    for command in commands:
        console.print(f"  {command}")
