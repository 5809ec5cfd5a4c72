"""`python -m applications try`: the whole pipeline on a sample."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from applications.commands.group import (
    main,
    of_an_application,
    one_line_errors,
    result_console,
    run_command,
)
from base.console import PlainConsole
from base.errors import ComponentError
from tabular.parameters import TrainerParameters

if TYPE_CHECKING:
    from pipeline.config import PipelineConfig

_EPOCHS = 5
_REQUESTS = 5  # to the server of a candidate, in place of the config's


@main.command("try")
@of_an_application
@click.option(
    "--rows", type=click.IntRange(min=100), default=5000, show_default=True, help="Sample size."
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="New or empty folder for everything that the run makes.  [default: a temporary one]",
)
@one_line_errors
def try_(path: str, overrides: tuple[str, ...], rows: int, folder: Path | None) -> None:
    """Runs the whole pipeline on a sample.

    \b
    Examples:
      python -m applications try churn
      python -m applications try churn --rows 20000 --folder /tmp/churn-try

    ETL, schema, training, evaluation, a server and a push: it shows in about a minute whether all
    of them work together. The metrics are those of a sample and say little about the model. Bounds
    of the config do not decide, and the model is pushed to the folder of the trial only. Servers,
    releases and the metadata store of the config are not touched.
    """
    from local_run.run import run
    from local_run.sample import ensure_sample_data
    from pipeline.config import load_config

    config = load_config(path, overrides)
    ensure_sample_data(config)
    place = _folder(config.name, folder)
    tried = trial(config, rows, place)
    console = result_console()
    console.print(
        f"A trial of about {rows:,} rows in {place}. Bounds do not decide, and nothing is pushed "
        "to the real place."
    )
    code = run(tried, "beam")
    if code == 0:
        _show(console, config, place, path)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # as local_runner.py does, where the reason is


def _folder(name: str, folder: Path | None) -> Path:
    if folder is None:
        return Path(tempfile.mkdtemp(prefix=f"try-{name}-"))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ComponentError(f"--folder {folder}: expected a new or empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def trial(config: PipelineConfig, rows: int, folder: Path) -> PipelineConfig:
    """Returns the config of a trial: a sample, a short training, and everything in one folder.

    Args:
      config: Config of the pipeline.
      rows: Size of the sample.
      folder: Folder for artifacts, metadata and the pushed model.
    """
    from applications.commands.sampling import of_a_sample
    from pipeline.beam_arguments import ONE_PROCESS
    from pipeline.sections import Metadata, Serving

    canary = config.serving.canary
    if canary is not None:
        canary = canary.model_copy(update={"requests": min(canary.requests, _REQUESTS)})
    # Every metric that would be judged has no bound: an empty entry also removes a default.
    thresholds: dict[str, tuple[Any, ...]] = {str(name): () for name in config.evaluator.judged}
    evaluator = config.evaluator.model_copy(
        update={
            "thresholds": thresholds,
            "min_positives": 1,
            "min_examples": 1,
            "max_feature_auc": None,
            "metrics": tuple(
                dict.fromkeys((*config.evaluator.metrics, *map(str, config.evaluator.judged)))
            ),
        }
    )
    return of_a_sample(config, rows).model_copy(
        update={
            "run_root": str(folder / "runs"),
            "serving_root": str(folder / "serving_models"),
            "metadata": Metadata(),
            "serving": Serving(canary=canary),
            "evaluator": evaluator,
            "trainer": config.trainer.model_copy(
                update={
                    "parameters": _short_training(config),
                    "warm_start": False,
                    "workers": 1,
                }
            ),
            "tuner": None,
            "incremental": None,
            "truth": None,
            "streaming": None,
            "beam_pipeline_args": [*ONE_PROCESS],  # workers do not pay for a sample
        }
    )


def _short_training(config: PipelineConfig) -> dict[str, Any]:
    """Returns trainer.parameters with few epochs, if the model has the parameter `epochs`.

    It has as many as fit the sample if they follow from the number of rows.
    """
    given = config.trainer.parameters
    model = config.loaded_application().parameters.trainer
    if "epochs" not in model.model_fields:
        return given
    parameters: Any = model.model_validate(given)
    if isinstance(parameters, TrainerParameters) and parameters.by_rows(0):
        return given
    return {**given, "epochs": min(parameters.epochs, _EPOCHS)}


def _show(console: PlainConsole, config: PipelineConfig, place: Path, path: str) -> None:
    """Shows what the trial says about the real run."""
    (written,) = (place / "runs" / config.name / "runs").glob("*/run_summary.json")
    summary: Mapping[str, Any] = json.loads(written.read_text("utf-8"))
    rows = summary["rows"]
    examples = sum(
        count for name, count in rows.items() if name not in ("read", "quarantined", "dropped")
    )
    rejected = rows.get("quarantined", 0)
    share, limit = rejected / max(examples + rejected, 1), config.etl.max_quarantine_fraction
    if share > limit:
        console.print(
            f"Warning: {share:.1%} of the sample was quarantined, and a run stops above "
            f"{limit:.1%} (etl.max_quarantine_fraction)",
            style="yellow",
        )
    console.print("All steps work together. These are metrics of a sample; the real run is:")
    console.print(f"  {run_command(path)}")
