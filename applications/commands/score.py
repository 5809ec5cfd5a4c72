"""`python -m applications score`: scores rows in batch with Spark."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from applications.commands.group import (
    main,
    of_an_application,
    one_line_errors,
    result_console,
    shown_progress,
)
from base.errors import ComponentError

if TYPE_CHECKING:
    from pipeline.config import PipelineConfig


@main.command()
@of_an_application
@click.option(
    "--input",
    "given",
    metavar="FILE",
    help="File, folder or pattern of rows.  [default: the primary source of the config]",
)
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="New folder for the scores.",
)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="Folder of a SavedModel.  [default: the pushed version that is live]",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["parquet", "csv"]),
    default="parquet",
    show_default=True,
    help="Format of the scores.",
)
@click.option("--with-features", is_flag=True, help="Write the features beside the scores.")
@click.option(
    "--max-quarantine-fraction",
    type=click.FloatRange(0, 1),
    help="Stop if more rows are rejected.  [default: as in the config]",
)
@one_line_errors
def score(
    path: str,
    overrides: tuple[str, ...],
    given: str | None,
    output: Path,
    model: Path | None,
    file_format: str,
    with_features: bool,
    max_quarantine_fraction: float | None,
) -> None:
    """Scores rows with the pushed model, in Spark's workers.

    \b
    Examples:
      python -m applications score churn --input new.csv --output scores
      python -m applications score churn --input 'month/*.parquet' --output scores --format csv
      python -m applications score churn --output scores --set spans.last=20000

    The rows go through the application's ETL, so they look like those of the primary source; the
    label may be missing. The scores have the keys of the application, or its features if it has no
    keys. Rows that the ETL rejects are counted by reason and kept in _quarantined/. Every row read
    is scored, quarantined or dropped; if the counts differ, nothing is written. The folder appears
    when it is complete.
    """
    from applications.commands.scoring.request import ScoreRequest
    from pipeline.config import load_config
    from spark_io.jobs.parent import run_in_child

    config = load_config(path, overrides)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ComponentError(f"--output {output}: expected a new folder; nothing is overwritten")
    folder = _model_folder(config, model)
    request = ScoreRequest(
        config=path,
        overrides=overrides,
        input=given,
        output=str(output),
        model=str(folder.resolve()),
        format=file_format,
        with_features=with_features,
        max_quarantine_fraction=max_quarantine_fraction,
    )
    with shown_progress():
        answer = run_in_child("applications.commands.scoring.job", dataclasses.asdict(request))
    _show(answer["manifest"], output)


def _model_folder(config: PipelineConfig, given: Path | None) -> Path:
    """Returns the folder of the SavedModel to score with."""
    if given is not None:
        if not (given / "saved_model.pb").is_file():
            raise ComponentError(
                f"--model {given}: expected the folder of a SavedModel, which has saved_model.pb"
            )
        return given
    from components.pusher.release import read_release

    release = read_release(config.serving_folder)
    if release is None:
        raise ComponentError(
            f"there is no pushed model in {config.serving_folder}: run the pipeline first, or give "
            "--model FOLDER"
        )
    return config.serving_folder / str(release.stable)


def _show(manifest: dict[str, Any], output: Path) -> None:
    console, rows = result_console(), manifest["rows"]
    counts = ", ".join(f"{rows[name]:,} {name}" for name in ("scored", "quarantined", "dropped"))
    console.print(f"rows    {rows['read']:,} read = {counts}")
    for source, reasons in manifest["quarantined"].items():
        for reason, count in reasons.items():
            console.print(f"        quarantined {count:,} of {source}: {reason}")
    for reason, count in manifest["dropped"].items():
        console.print(f"        dropped {count:,}: {reason}")
    for warning in manifest["warnings"]:
        console.print(f"Warning: {warning}", style="yellow")
    console.print(f"model   {manifest['model']}")
    console.print(f"scores  {output}")
