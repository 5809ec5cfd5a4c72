"""Runs a pipeline on this machine: `python local_runner.py --config FILE`."""

from __future__ import annotations

import os
import sys

# Must precede TensorFlow: no search for GPUs, no banner, and one Keras (docs/decisions.md).
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import click

from local_run.run import run
from local_run.sample import ensure_sample_data
from pipeline.config import ConfigError, load_config

EPILOG = """\b
Examples:
  python local_runner.py --config applications/NAME/configs/NAME.yaml
  python local_runner.py --config FILE --span 474839
  python local_runner.py --config FILE --set spans.window=24 --set trainer.parameters.epochs=2
"""


@click.command(epilog=EPILOG)
@click.option(
    "--config", "config_path", required=True, help="YAML file; see applications/*/configs/."
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one key.")
@click.option("--span", type=int, help="Last span to read; default: the newest.")
@click.option(
    "--runner",
    type=click.Choice(["beam", "local"]),
    default="beam",
    show_default=True,
    help="beam: BeamDagRunner; local: LocalDagRunner, one component after the other.",
)
def main(config_path: str, overrides: tuple[str, ...], span: int | None, runner: str) -> None:
    """Runs a pipeline on this machine, from raw logs to a pushed model.

    Components whose inputs did not change since an earlier run are taken from the cache. The run's
    summary and log are in RUN_ROOT/NAME/runs/RUN_ID.
    """
    try:
        spans = [] if span is None else [f"spans.last={span}"]
        config = load_config(config_path, [*overrides, *spans])
        ensure_sample_data(config)
        code = run(config, runner)
    except ConfigError as error:
        click.echo(f"Error: {error}", err=True)
        code = 2
    except OSError as error:  # the run's own folder cannot be used
        click.echo(
            f"Error: {error.strerror}: {error.filename}; fix that, or set run_root", err=True
        )
        code = 2
    # Interpreter shutdown with TensorFlow and Beam loaded takes seconds and prints noise.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
