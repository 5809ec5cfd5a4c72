"""The command line: `python -m components.spark_example_gen replay show | export | apply`."""

from __future__ import annotations

import errno
import itertools
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from base.console import Failure, PlainConsole
from base.errors import ComponentError
from spark_io.jobs.errors import explain
from spark_io.replay import replay as replaying
from spark_io.replay.check import check_readable
from spark_io.replay.finished_run import FinishedRun, RejectedRow, open_run

_PROGRAM = "python -m components.spark_example_gen"
_PIPE_WIDTH = 100_000  # nothing is cut or wrapped when a program reads it
_FOLDER = click.argument("folder", type=click.Path(path_type=Path))
_SOURCE = click.option("--source", required=True, help="Name of the source.")


class _Commands(click.Group):
    """An error of ours is one line and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (ComponentError, OSError) as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # nobody reads on: the end, without a word
            raise Failure(explain(error)) from error


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
def cli() -> None:
    """Tools around a SparkExampleGen.

    \b
    python -m components.spark_example_gen replay --help
    """


@cli.group()
def replay() -> None:
    """Writes rejected rows, once repaired, as a new version of their span.

    FOLDER is the folder of the run's examples or quarantine.

    \b
    RUN=pipeline/SparkExampleGen/examples/12
    python -m components.spark_example_gen replay show $RUN
    python -m components.spark_example_gen replay export $RUN --source orders --out rows.jsonl
    nano rows.jsonl                                        # fix each `record`
    python -m components.spark_example_gen replay apply $RUN --source orders --rows rows.jsonl
    ...and run the pipeline again: it reads the new version.

    It is for JSON lines in local or mounted folders, with {VERSION} in their path, such as
    day/v{VERSION}/*.json.gz. What was read is never changed.
    """


@replay.command()
@_FOLDER
@click.option(
    "--samples",
    type=click.IntRange(min=0),
    default=2,
    show_default=True,
    help="Records to show of each reason.",
)
@click.option("--json", "as_json", is_flag=True, help="For a program.")
def show(folder: Path, samples: int, as_json: bool) -> None:
    """Shows the rejected rows of a run, and why.

    \b
    python -m components.spark_example_gen replay show pipeline/SparkExampleGen/quarantine/12
    python -m components.spark_example_gen replay show FOLDER --json | jq '.counts[]'
    """
    run = open_run(folder)
    shown = _samples(run, samples)
    if as_json:
        click.echo(json.dumps(_as_json(run, shown), indent=2, ensure_ascii=False))
        return
    console = _console()
    if not run.counts:
        console.print("no row was rejected")
        return
    console.print(_counts_table(run))
    if shown:
        console.print()
        console.print(_samples_table(shown))


@replay.command()
@_FOLDER
@_SOURCE
@click.option("--reason", "reasons", multiple=True, help="Only this one; may be given again.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The file to write.")
@click.option("--force", is_flag=True, help="Overwrite the file.")
def export(folder: Path, source: str, reasons: tuple[str, ...], out: Path, force: bool) -> None:
    """Writes rejected rows to a file, to repair them there.

    \b
    python -m components.spark_example_gen replay export FOLDER --source orders --out rows.jsonl
    python -m components.spark_example_gen replay export FOLDER --source orders \\
        --reason unparseable --reason negative_total --out rows.jsonl

    \b
    The file has a JSON object a line:
        {"row": "5c0e...", "reason": "negative_total", "record": "{\\"order\\": 7, ...}"}
    Fix the text in `record`, and keep `row`, which identifies the row. A row whose line you delete
    or do not edit stays rejected. Lines cannot be added or split. A record rejected as not_utf8 is
    shown as ISO-8859-1. If that is right, add a space at its end, and it is written as UTF-8.
    """
    written, without_text = replaying.export(open_run(folder), source, reasons, out, force)
    click.echo(f"{_rows(written)} to repair in {out}")
    if without_text:
        click.echo(f"{_rows(without_text)} left out: the ETL did not keep their text", err=True)
    click.echo(
        f"fix `record`, then: {_PROGRAM} replay apply {folder} --source {source} --rows {out}"
    )


@replay.command()
@_FOLDER
@_SOURCE
@click.option("--rows", type=click.Path(path_type=Path), required=True, help="The repaired rows.")
@click.option("--dry-run", is_flag=True, help="Check everything, write nothing.")
def apply(folder: Path, source: str, rows: Path, dry_run: bool) -> None:
    """Writes the next version of each span that a repaired row came from.

    \b
    python -m components.spark_example_gen replay apply FOLDER --source orders --rows rows.jsonl
    python -m components.spark_example_gen replay apply FOLDER --source orders --rows rows.jsonl \\
        --dry-run

    The new version is the one that the run read, without the rows that were repaired, and with
    their repaired forms in a file `repaired-VERSION` beside the others. First, Spark parses them as
    the next run will (some seconds). Each span becomes visible whole, or not at all: if the command
    is stopped, give it again. Given again after that, it changes nothing.
    """
    run = open_run(folder)
    found = replaying.plan(run, source, rows)
    missing = found.missing()
    if missing:
        check_readable(found.source, found.repairs)
    if not dry_run:
        replaying.apply(found)
    for version in found.versions:
        written = "would be written" if dry_run else "written"
        _say_accounts(found, version, written if version in missing else "there already")
    left = found.rejected - len(found.repairs.rows)
    if left:
        unedited = found.repairs.unedited
        click.echo(
            f"left as they are: {_rows(left)} ({unedited:,} not edited, {left - unedited:,} not in "
            f"{rows})"
        )
    if not dry_run:
        click.echo("run the pipeline again: it reads the new version")


def _say_accounts(found: replaying.Replay, version: replaying.NextVersion, state: str) -> None:
    old, total = version.old, sum(version.rows.values())
    replaced = len(version.repaired)
    click.echo(
        f"{found.source.pattern.describe(old.span)}, {found.source.base / version.folder}: {state}"
    )
    for number, what in ((old.number, "replaced"), (version.number, "repaired")):
        rows = f"{version.kept:,} kept + {replaced:,} {what}"
        click.echo(f"  version {number}: {_rows(total)} = {rows}")


def _samples(run: FinishedRun, number: int) -> list[RejectedRow]:
    """The first records of each source and reason."""
    if not number:
        return []
    seen: Counter[tuple[str, str]] = Counter()
    shown = []
    for row in run.rejected():
        seen[row.source, row.reason] += 1
        if seen[row.source, row.reason] <= number:
            shown.append(row)
    return sorted(shown, key=lambda row: (row.source, row.reason))


def _as_json(run: FinishedRun, samples: list[RejectedRow]) -> dict[str, Any]:
    return {
        "examples": str(run.examples),
        "quarantine": str(run.quarantine),
        "spans": run.manifest["spans"],
        "version": run.manifest["version"],
        "counts": [
            {"source": source, "reason": reason, "rows": rows}
            for source, reasons in run.counts.items()
            for reason, rows in reasons.items()
        ],
        "samples": [
            {"source": row.source, "reason": row.reason, "record": row.record} for row in samples
        ],
    }


def _counts_table(run: FinishedRun) -> Table:
    read = {entry["name"]: entry["rows_read"] for entry in run.manifest["sources"]}
    table = _table("source", "reason", ">rows", ">of those read")
    for source, reasons in run.counts.items():
        for reason, rows in reasons.items():
            share = f"{rows / read[source]:.2%}" if read.get(source) else "-"
            table.add_row(_plain(source), _plain(reason), f"{rows:,}", share)
    return table


def _samples_table(samples: list[RejectedRow]) -> Table:
    table = _table("source", "reason", "a record")
    for _, rows in itertools.groupby(samples, key=lambda row: (row.source, row.reason)):
        for row in rows:
            record = "(its text was not kept)" if row.record is None else row.record
            table.add_row(_plain(row.source), _plain(row.reason), _plain(record))
    return table


def _table(*headings: str) -> Table:
    """Returns an empty table. A heading that starts with '>' aligns its column to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(
            heading.lstrip(">"),
            justify="right" if heading.startswith(">") else "left",
            overflow="fold",
        )
    return table


def _plain(value: str) -> Text:
    """Returns text without markup, and with control characters escaped."""
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)
    return Text("".join(shown), overflow="fold")


def _rows(number: int) -> str:
    return f"{number:,} row" + "s" * (number != 1)


def _console() -> Console:
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    return PlainConsole(width=width)


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a screen that cannot show a character
    cli(prog_name=_PROGRAM)
