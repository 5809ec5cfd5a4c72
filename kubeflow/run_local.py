"""Runs a compiled pipeline on this machine: python -m kubeflow.run_local --help"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Sequence
from pathlib import Path

import click

from base.console import Failure
from base.errors import ComponentError
from kubeflow.local.engines import Engine, Podman, Process
from kubeflow.local.steps import Pipeline, read_pipeline
from kubeflow.parameters import parse_pairs

_STORE = "metadata.sqlite"
_PAGE = "system.HTML"  # artifact type of the report


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option(
    "--engine",
    type=click.Choice(["process", "podman"]),
    default="process",
    show_default=True,
    help="process: this Python and this folder; podman: each step's own image.",
)
@click.option("--param", "given", multiple=True, metavar="NAME=VALUE", help="Pipeline parameter.")
@click.option(
    "--claim",
    "claims",
    multiple=True,
    metavar="NAME=FOLDER",
    help="For podman: folder in place of a PersistentVolumeClaim.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of artifacts, logs and ML Metadata; default: runs/NAME-kubeflow.",
)
def main(
    spec: Path, engine: str, given: Sequence[str], claims: Sequence[str], folder: Path | None
) -> None:
    """Runs SPEC, a pipeline that `python -m kubeflow.compile` wrote, step by step.

    Each step runs its container's command with the input that Kubeflow would give it. The run is
    recorded in ML Metadata: python -m lineage show latest --store FOLDER/metadata.sqlite
    """
    try:
        pipeline = read_pipeline(spec)
        arguments = pipeline.arguments(parse_pairs("--param", given))
        place = (folder or Path("runs") / f"{pipeline.name}-kubeflow").absolute()
        runner = _engine(engine, pipeline, place, parse_pairs("--claim", claims))
        runner.check(pipeline.steps)
    except ComponentError as error:
        raise Failure(error) from None
    if not _run(pipeline, arguments, runner, place):
        raise SystemExit(1)


def _run(pipeline: Pipeline, arguments: dict[str, object], engine: Engine, place: Path) -> bool:
    # ML Metadata takes a second to import: --help should not wait for it.
    from kubeflow.local.run import StepResult, run_pipeline
    from kubeflow.record import Record

    def report(ended: StepResult) -> None:
        state = "done" if ended.reason is None else "FAILED"
        click.echo(f"{ended.step:<20} {state:<7} {ended.seconds:6.1f} s")
        if ended.reason is not None:
            click.echo(f"  {ended.reason}\n  see {ended.log}", err=True)
            return
        for key, one in ended.outputs.items():
            if one["type"].get("schemaTitle") == _PAGE:  # a browser needs a suffix
                page = place / run_id / f"{key}.html"
                shutil.copyfile(one["uri"], page)
                click.echo(f"{key}: {page}")

    run_id = f"{dt.datetime.now(dt.timezone.utc):%Y%m%d-%H%M%S}"
    store = place / _STORE
    click.echo(f"{pipeline.name}: {len(pipeline.steps)} steps, in {place / run_id}")
    record = Record(store, pipeline.name, run_id)
    done = run_pipeline(pipeline, arguments, engine, place / run_id, record, report)
    click.echo(f"lineage: python -m lineage show latest --store {store}")
    return done


def _engine(name: str, pipeline: Pipeline, place: Path, claims: dict[str, str]) -> Engine:
    if name == "process":
        return Process(Path.cwd())
    folders = {claim: Path(folder) for claim, folder in claims.items()}
    for claim, folder in folders.items():
        if not folder.is_dir():
            raise ComponentError(f"--claim {claim}: there is no folder {folder}")
    return Podman(place, f"{pipeline.root}/{pipeline.name}", folders)


if __name__ == "__main__":
    main()
