"""Compiles a config to a Kubeflow Pipelines spec: python -m kubeflow.compile --help

TFX is imported late: it takes many seconds, and neither --help nor a wrong key should wait for it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import yaml

from components.errors import ComponentError
from pipeline.config import ConfigError, PipelineConfig, load_config

# Before TensorFlow is imported: no search for GPUs, no banner, and one Keras (docs/decisions.md).
ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_USE_LEGACY_KERAS": "1",
}
DESCRIPTION = "Spark ETL, validation, training, evaluation and push; compiled from TFX"


def compile_pipeline(config: PipelineConfig, image: str | None = None) -> dict[str, Any]:
    """Compiles the pipeline of a config.

    Args:
      config: what to compile; its `kubeflow` section says where the pipeline will find its data.
      image: of every step; default: the config's.

    Returns:
      A KFP PipelineSpec of schema version 2.1.0, as plain data; the same for the same input.

    Raises:
      ConfigError: a schema or an image that no container can have.
      ComponentError: the application's code cannot be found.
    """
    image = config.kubeflow.image if image is None else image
    if not image or any(character.isspace() for character in image):
        raise ConfigError(f"kubeflow.image: '{image}' is no container image")
    schema_file = schema_in_image(config)
    with _quiet():
        from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner as kubeflow_v2

        from pipeline.pipeline import Locations, create_pipeline

        where = config.kubeflow
        locations = Locations(
            pipeline_root=where.pipeline_root,
            data_root=where.data_root,
            serving_folder=f"{where.serving_root}/{config.name}",
            schema_file=schema_file,
        )
        pipeline = create_pipeline(config, locations, runner="kubeflow")
        runner = kubeflow_v2.KubeflowV2DagRunner(
            kubeflow_v2.KubeflowV2DagRunnerConfig(default_image=image, use_pipeline_spec_2_1=True)
        )
        job = runner.run(pipeline, write_out=False)
    # TFX builds a job of Vertex AI; Kubeflow takes the spec within, and the root as its default.
    spec = _whole_numbers(job["pipelineSpec"])
    spec["defaultPipelineRoot"] = where.pipeline_root
    _read_outside_at_every_run(spec)
    return spec


def schema_in_image(config: PipelineConfig) -> str:
    """The schema's path below the project's root, which is the image's working directory."""
    path = Path(os.path.relpath(config.schema_file))
    if ".." in path.parts:
        raise ConfigError(
            f"schema: {config.schema_file} lies outside the project, so no image of it has that "
            "file; copy it to schemas/"
        )
    return path.as_posix()


def _read_outside_at_every_run(spec: dict[str, Any]) -> None:
    """Changes what TFX says of the steps without an input artifact, in place.

    They read files (logs, the schema) that are not part of Kubeflow's cache key, so a cached answer
    would be an old one. And TFX's stock ExampleGen driver is set to run before the cache is asked:
    it knows neither hours nor windows, open-source Kubeflow never runs it, and SparkExampleGen's
    executor decides span and fingerprint itself where no driver did.
    """
    for task in spec["root"]["dag"]["tasks"].values():
        if not task.get("inputs", {}).get("artifacts"):
            task.pop("cachingOptions", None)
    for executor in spec["deploymentSpec"]["executors"].values():
        executor.get("container", {}).pop("lifecycle", None)


def _whole_numbers(value: Any) -> Any:
    """3.0 as 3: protobuf's Struct knows only doubles, and its releases print them differently."""
    if isinstance(value, dict):
        return {key: _whole_numbers(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def to_yaml(spec: dict[str, Any]) -> str:
    """The spec with kfp's own heading, from which its loader takes the description."""
    heading = (
        "# PIPELINE DEFINITION\n"
        f"# Name: {spec['pipelineInfo']['name']}\n"
        f"# Description: {DESCRIPTION}\n"
    )
    return heading + yaml.dump(spec, Dumper=_Dumper, allow_unicode=True, width=1_000_000)


def to_json(spec: dict[str, Any]) -> str:
    # kfp reads JSON as YAML, which does not know the surrogate pairs that ASCII would need.
    return json.dumps(spec, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


class _Dumper(yaml.SafeDumper):
    """Texts of several lines (schemas, JSON) as such: a spec is read and compared by people."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)
FORMATS: dict[str, Callable[[dict[str, Any]], str]] = {
    ".yaml": to_yaml,
    ".yml": to_yaml,
    ".json": to_json,
}


def check_loads(text: str) -> None:
    """Raises a ComponentError when kfp's own loader refuses the text."""
    with _quiet():
        from kfp import components as kfp_components

        try:
            # The loader itself looks at names only; this property parses the whole of it.
            assert kfp_components.load_component_from_text(text).pipeline_spec is not None
        except Exception as error:
            lines = str(error).splitlines() or ["no reason given"]
            reason = f"{type(error).__name__}: {lines[0]}"
            raise ComponentError(f"kfp refuses the compiled pipeline: {reason}") from error


def format_of(output: Path) -> Callable[[dict[str, Any]], str]:
    """How to write this file; a ComponentError when it cannot be written, before it takes time."""
    form = FORMATS.get(output.suffix)
    if form is None:
        raise ComponentError(f"--output {output}: the name must end in .yaml, .yml or .json")
    if output.is_dir():
        raise ComponentError(f"--output {output}: this is a folder")
    if not output.absolute().parent.is_dir():
        raise ComponentError(f"--output {output}: there is no folder {output.parent}")
    return form


def replace_file(path: Path, text: str) -> None:
    """Writes the whole text, or leaves what was there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise ComponentError(f"--output {path}: cannot write it: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Within it only errors are logged: importing TFX alone logs and warns by the screen."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


class OneLineError(click.ClickException):
    """Shown as one line."""

    exit_code = 2


@click.command()
@click.option("--config", "config_path", required=True, help="YAML file; see pipeline/configs/.")
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="The spec: .yaml, .yml or .json.",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one key.")
@click.option("--image", help="Of every step; default: the config's kubeflow.image.")
@click.option("--span", type=int, help="The last span to read; default: the newest at run time.")
def main(
    config_path: str, output: Path, overrides: tuple[str, ...], image: str | None, span: int | None
) -> None:
    """Compiles a config to a Kubeflow Pipelines spec (schema version 2.1.0).

    Paths, image and bucket of the cluster come from the config's kubeflow section.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    spans = [] if span is None else [f"spans.last={span}"]
    try:
        form = format_of(output)
        config = load_config(config_path, [*overrides, *spans])
        spec = compile_pipeline(config, image)
        text = form(spec)
        check_loads(text)
        replace_file(output, text)
    except (ConfigError, ComponentError) as error:
        raise OneLineError(str(error)) from error
    steps = len(spec["root"]["dag"]["tasks"])
    click.echo(f"{output}: {steps} steps, image {image or config.kubeflow.image}")


if __name__ == "__main__":
    main()
