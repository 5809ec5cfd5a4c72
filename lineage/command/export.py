"""Exports lineage to other tools: `python -m lineage export`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from lineage.command.complete import RUNS
from lineage.command.connect import OpenedStore
from lineage.command.group import cli, with_store
from lineage.whole_file import STANDARD_OUTPUT
from metadata.reader import MetadataError


@cli.command()
@with_store
@click.argument("run", metavar="[RUN|latest]", default="latest", shell_complete=RUNS)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Output file, one event per line; - for a pipe.",
)
@click.option("--url", help="OpenLineage endpoint that gets the events, such as Marquez.")
@click.option("--api-key-env", metavar="NAME", help="Environment variable with the endpoint's key.")
@click.option("--namespace", default="tfx", show_default=True, help="Namespace of the jobs.")
def export(
    opened: OpenedStore,
    /,
    run: str,
    out: Path | None,
    url: str | None,
    api_key_env: str | None,
    namespace: str,
) -> None:
    """Exports a run as OpenLineage events: runs, jobs and datasets, with facets.

    The events of a run always have the same ids, so a run that is sent twice is one run.

    \b
    python -m lineage export --out events.ndjson
    python -m lineage export latest --url http://localhost:5000 --api-key-env MARQUEZ_KEY
    """
    if (out is None) == (url is None):
        raise MetadataError("give either --out FILE or --url URL")
    if api_key_env and api_key_env not in os.environ:
        raise MetadataError(f"--api-key-env: the variable {api_key_env} is not set; export it")
    # Imported here, so that the other commands need not load the client.
    from lineage.open_lineage import run_events, send, write

    events = run_events(opened.store, run, opened.summaries, namespace)
    if out is not None:
        write(events, out)
    else:
        assert url is not None
        send(events, url, os.environ[api_key_env] if api_key_env else None)
    click.echo(f"{len(events)} events to {out or url}", err=out == STANDARD_OUTPUT)
