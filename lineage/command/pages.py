"""Pages for a browser: `python -m lineage report`."""

from __future__ import annotations

from pathlib import Path

import click

from lineage.command.complete import RUNS
from lineage.command.connect import Opened
from lineage.command.group import cli, with_store
from lineage.records import Run
from lineage.store import LineageError

REPORT = "report.html"


@cli.command()
@with_store
@click.argument("run", metavar="[RUN|latest]", default="latest", shell_complete=RUNS)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help=f"The file.  [default: {REPORT} in the run's folder, else here]",
)
def report(opened: Opened, /, run: str, out: Path | None) -> None:
    """Writes a run's report: one HTML file that needs no network.

    Pipeline with state, times and logs; rows, quarantine, every feature against the run before;
    training; evaluation with slices and calibration; what the model was made from. Every run writes
    its own; this makes it again, or for a run that has none.

    \b
    python -m lineage report
    python -m lineage report 20261127-180047 --out report.html
    """
    found = opened.store.run(run)
    path = out or _beside(opened, found)
    # Here, not above: the other commands do without plotly and jinja2.
    from lineage.report.write import write_report

    try:
        write_report(opened.store, found.run_id, opened.summaries, path)
    except OSError as error:
        raise LineageError(
            f"cannot write {path}: {error.strerror or error}; choose another with --out"
        ) from error
    click.echo(path)


def _beside(opened: Opened, run: Run) -> Path:
    folder = opened.summaries / run.run_id if opened.summaries else None
    return folder / REPORT if folder and folder.is_dir() else Path(REPORT)
