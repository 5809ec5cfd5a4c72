"""`python -m applications check`: everything that can be known without a run."""

from __future__ import annotations

import time

import click

from applications.commands.group import main, of_an_application, one_line_errors, result_console


@main.command()
@of_an_application
@one_line_errors
def check(path: str, overrides: tuple[str, ...]) -> None:
    """Finds in seconds what is wrong, without a run.

    \b
    Examples:
      python -m applications check churn
      python -m applications check --config mine/configs/mine.yaml --set spans.window=24

    It looks at the config, its application, its schema and its data. Every problem is one line,
    all of them at once, and the exit code is 1. Of the data it reads names, headers and first
    lines. It cannot see what only an ETL or a service can say.
    """
    from applications.commands.checks.everything import look_at

    started = time.monotonic()
    found = look_at(path, overrides)
    console = result_console()
    for note in found.notes:
        console.print(f"not checked: {note}", style="dim")
    for problem in found.problems:
        console.print(problem, style="red" if console.is_terminal else None)
    seconds = time.monotonic() - started
    count = len(found.problems)
    verdict = f"{count} problem{'s' if count > 1 else ''}" if count else "no problem"
    console.print(f"{path}: {verdict} ({seconds:.1f} s)")
    if count:
        raise click.exceptions.Exit(1)
