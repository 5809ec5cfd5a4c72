"""Runs every command of `python -m lineage` on one store."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from lineage.command import export, pages  # noqa: F401 - they join the group
from lineage.command.questions import cli
from lineage.dashboard.overview import as_json
from lineage.dashboard.server import Dashboard
from metadata.reader import MetadataError, MetadataReader

COMMANDS = (
    "list",
    "list --json",
    "show",
    "show --json",
    "show artifact:1",
    "show artifact:1 --json",
    "show execution:1",
    "show execution:1 --json",
    "trace",
    "trace --files",
    "trace --json",
    "trace stable",
    "impact",
    "impact --json",
    "impact 1",
    "impact rows.csv",
    "diff",
    "diff --json",
    "served",
    "served --json",
    "served latest",
    "gc",
    "gc --keep-runs 1 --all",
    "gc --json",
    "report --out -",
    "report --json",
    "export --out -",
)


def ask(store: Path, *arguments: str) -> Result:
    """Runs one command; returns text, or one line that begins with 'Error: '."""
    result = CliRunner().invoke(cli, ["--store", str(store), *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert result.exit_code in (0, 1), result.output
    if result.exit_code:
        assert result.output.startswith("Error: "), result.output
        assert result.output.count("\n") == 1, result.output
    return result


def ask_everything(store: Path) -> dict[str, Result]:
    """Returns the answers by command; checks that the dashboard's pages have no errors."""
    answers = {command: ask(store, *command.split()) for command in COMMANDS}
    try:
        opened = MetadataReader.sqlite(store)
    except MetadataError:
        return answers
    assert Dashboard(opened, None)._made_page().startswith("<!doctype html>")
    assert as_json(opened, None, None, 10)
    return answers
