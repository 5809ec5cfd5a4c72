"""Makes pages for a browser: `python -m lineage report | serve`."""

from __future__ import annotations

from pathlib import Path

import click

from base.shared_names import RUN_REPORT
from lineage.as_json import to_json
from lineage.command.complete import RUNS
from lineage.command.connect import OpenedStore
from lineage.command.group import cli, with_store
from lineage.whole_file import STANDARD_OUTPUT
from metadata.reader import MetadataError
from metadata.records import Run


@cli.command()
@with_store
@click.argument("run", metavar="[RUN|latest]", default="latest", shell_complete=RUNS)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help=f"Output file; - for a pipe.  [default: {RUN_REPORT} in the run's folder, else here]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the facts of the page as JSON.")
def report(opened: OpenedStore, /, run: str, out: Path | None, as_json: bool) -> None:
    """Writes a run's report: one HTML file that needs no network.

    The page shows the components with states, times and logs; rows, quarantine, and every feature
    compared with the run before; training; evaluation with slices and calibration; and what the
    model was made from. Every run writes its own report; this command writes it again.

    \b
    python -m lineage report
    python -m lineage report 20261127-180047 --out report.html
    python -m lineage report --json | jq '.drift[] | select(.value > .threshold)'
    """
    found = opened.store.run(run)
    if as_json:
        if out is not None:
            raise MetadataError("give --out for the page, or --json for a program")
        from lineage.report.facts import gather

        click.echo(to_json(gather(opened.store, found.run_id, opened.summaries)))
        return
    path = out or _beside(opened, found)
    # Imported here, so that the other commands need not load plotly and jinja2.
    from lineage.report.write import write_report

    try:
        write_report(opened.store, found.run_id, opened.summaries, path)
    except OSError as error:
        raise MetadataError(
            f"cannot write {path}: {error.strerror or error}; choose another with --out"
        ) from error
    click.echo(path, err=path == STANDARD_OUTPUT)


def _beside(opened: OpenedStore, run: Run) -> Path:
    folder = opened.summaries / run.run_id if opened.summaries else None
    return folder / RUN_REPORT if folder and folder.is_dir() else Path(RUN_REPORT)


@cli.command()
@with_store
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8090, show_default=True)
@click.option(
    "--allow-host",
    multiple=True,
    metavar="NAME",
    help="Name or address that browsers may use for this server, if --host is not loopback.",
)
@click.option(
    "--streaming",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The config's streaming.folder, for waiting spans.",
)
def serve(
    opened: OpenedStore,
    /,
    host: str,
    port: int,
    allow_host: tuple[str, ...],
    streaming: Path | None,
) -> None:
    """Serves a page over all runs: trends, serving versions and traffic, waiting spans, reports.

    The page is read only and has no password. Only this machine can reach it, unless --host says
    otherwise.

    \b
    python -m lineage serve
    python -m lineage serve --port 8091 --streaming data/NAME
    python -m lineage serve --host 0.0.0.0 --allow-host lineage.example
    """
    from lineage.dashboard import server

    dashboard = server.Dashboard(
        opened.store, opened.summaries, streaming, hosts=(host, *allow_host)
    )
    server.serve(dashboard, host, port, lambda address: click.echo(f"{address}  (Ctrl-C ends)"))
    click.echo("ended", err=True)
