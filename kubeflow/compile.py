"""Compiles a config to a Kubeflow Pipelines spec: python -m kubeflow.compile --help

TFX is imported late: it takes many seconds, and neither --help nor a wrong key should wait for it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import yaml

from base.atomic_files import write_text
from base.errors import ComponentError
from kubeflow.platform_spec import platform_spec, spot_warnings
from kubeflow.spec import compile_pipeline, quiet, tasks_of
from kubeflow.step import ENVIRONMENT
from pipeline.config import ConfigError, PipelineConfig, load_config

DESCRIPTION = "Spark ETL, validation, training, evaluation and push; compiled from TFX"
_SUFFIXES = (".yaml", ".yml")


def to_yaml(spec: dict[str, Any], platform: dict[str, Any]) -> str:
    """Returns both documents with kfp's heading, from which its loader takes the description."""
    heading = (
        "# PIPELINE DEFINITION\n"
        f"# Name: {spec['pipelineInfo']['name']}\n"
        f"# Description: {DESCRIPTION}\n"
    )
    documents = [spec, platform] if platform else [spec]
    return heading + yaml.dump_all(documents, Dumper=_Dumper, allow_unicode=True, width=1_000_000)


class _Dumper(yaml.SafeDumper):
    """A dumper for people: texts keep their lines (schemas, JSON), and there are no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


def check_loads(text: str) -> None:
    """Raises ComponentError if kfp's own loader rejects the text."""
    with quiet():
        from kfp import components as kfp_components

        try:
            # The loader itself reads only names; this property parses everything.
            assert kfp_components.load_component_from_text(text).pipeline_spec is not None
        except Exception as error:
            lines = str(error).splitlines() or ["no reason given"]
            reason = f"{type(error).__name__}: {lines[0]}"
            raise ComponentError(f"kfp rejects the compiled pipeline: {reason}") from error


def check_output(output: Path) -> None:
    """Raises ComponentError early if the file cannot be written."""
    if output.suffix not in _SUFFIXES:
        raise ComponentError(f"--output {output}: the name must end in .yaml or .yml")
    if output.is_dir():
        raise ComponentError(f"--output {output}: this is a folder")
    if not output.absolute().parent.is_dir():
        raise ComponentError(f"--output {output}: there is no folder {output.parent}")


def replace_file(path: Path, text: str) -> None:
    """Writes the whole text, or leaves the old file.

    Raises:
      ComponentError: The file cannot be written.
    """
    try:
        write_text(path, text, durable=True, many_writers=True)
    except OSError as error:
        raise ComponentError(f"--output {path}: cannot write it: {error.strerror}") from None


class OneLineError(click.ClickException):
    """An error that is shown in one line, with exit code 2."""

    exit_code = 2


def left_out(config: PipelineConfig) -> list[str]:
    """Returns a warning for each key that has no effect on Kubeflow Pipelines."""
    why = "it needs our own store of runs, so it has no effect on Kubeflow Pipelines"
    keys = {"trainer.warm_start": config.trainer.warm_start, "incremental": config.incremental}
    return [
        f"{key}: {why}: each run reads its whole window" for key, value in keys.items() if value
    ]


@click.command()
@click.option(
    "--config", "config_path", required=True, help="YAML file; see applications/*/configs/."
)
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="File for the spec, .yaml or .yml.",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one key.")
@click.option("--image", help="Image of every step; default: the config's kubeflow.image.")
@click.option("--span", type=int, help="Last span to read; default: the newest at run time.")
def main(
    config_path: str, output: Path, overrides: tuple[str, ...], image: str | None, span: int | None
) -> None:
    """Compiles a config to a Kubeflow Pipelines spec (schema version 2.1.0).

    Paths, image and bucket of the cluster come from the config's kubeflow section.
    """
    for name, value in {**ENVIRONMENT, "CUDA_VISIBLE_DEVICES": "-1"}.items():  # no search for GPUs
        os.environ.setdefault(name, value)
    spans = [] if span is None else [f"spans.last={span}"]
    try:
        check_output(output)
        config = load_config(config_path, [*overrides, *spans])
        spec = compile_pipeline(config, image)
        text = to_yaml(spec, platform_spec(config, spec))
        check_loads(text)
        replace_file(output, text)
    except (ConfigError, ComponentError) as error:
        raise OneLineError(str(error)) from error
    for warning in (*config.warnings, *left_out(config), *spot_warnings(config)):
        click.echo(f"Warning: {warning}", err=True)
    click.echo(f"{output}: {len(tasks_of(spec))} steps, image {image or config.kubeflow.image}")


if __name__ == "__main__":
    main()
