"""Compiles the pipeline to a spec that open-source Kubeflow Pipelines runs; see README.md.

TFX compiles for Vertex AI. The differences are adapted here, in the spec, or in step.py, in the
container.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kubeflow import step
from kubeflow.report_task import NAME as REPORT
from kubeflow.report_task import add_report
from pipeline.config import ConfigError, PipelineConfig

DATA_ROOT, SERVING_ROOT = "data_root", "serving_root"  # parameters of the pipeline
_NOT_SEEN = "a step's artifacts lie in its own container, which workers elsewhere do not see"
_RUNNERS_ELSEWHERE = ("SparkRunner", "FlinkRunner", "PortableRunner")  # Beam runners
_REPORT_STEP = "kubeflow.report_step"  # not imported: its dependencies are not needed here

Spec = dict[str, Any]


def compile_pipeline(config: PipelineConfig, image: str | None = None) -> Spec:
    """Compiles the pipeline of a config.

    Args:
      config: Config to compile; its `kubeflow` section says where the pipeline finds its data.
      image: Image of every step; default: the config's.

    Returns:
      A KFP PipelineSpec of schema version 2.1.0, as plain data; the same for the same input.

    Raises:
      ConfigError: The schema, the image or the name of a step is invalid.
      ComponentError: The application's code cannot be found.
    """
    image = config.kubeflow.image if image is None else image
    if not image or any(character.isspace() for character in image):
        raise ConfigError(f"kubeflow.image must be a container image. Received: '{image}'")
    _check_workers(config)
    spec = _compiled_by_tfx(config, image)
    spec["defaultPipelineRoot"] = config.kubeflow.pipeline_root
    _add_parameters(spec, config)
    if config.report:
        add_report(spec, image)
    _check_names(config, set(tasks_of(spec)))
    for name, task in tasks_of(spec).items():
        _give_settings(config, name, task, container_of(spec, name))
    return spec


def tasks_of(spec: Spec) -> dict[str, Any]:
    """Returns step id -> task."""
    found: dict[str, Any] = spec["root"]["dag"]["tasks"]
    return found


def executor_label(spec: Spec, name: str) -> str:
    """Returns the label of a step's executor."""
    component = tasks_of(spec)[name]["componentRef"]["name"]
    return str(spec["components"][component]["executorLabel"])


def container_of(spec: Spec, name: str) -> dict[str, Any]:
    """Returns the container of a step."""
    executor = spec["deploymentSpec"]["executors"][executor_label(spec, name)]
    found: dict[str, Any] = executor["container"]
    return found


def placeholder(parameter: str) -> str:
    """Returns a pipeline parameter's placeholder within a text, as kfp writes it."""
    return f"{{{{$.inputs.parameters['{parameter}']}}}}"


def schema_in_image(config: PipelineConfig) -> str:
    """Returns the schema's path below the project's root, the image's working directory.

    Raises:
      ConfigError: The schema lies outside the project.
    """
    path = Path(os.path.relpath(config.schema_file))
    if ".." in path.parts:
        raise ConfigError(
            f"schema: {config.schema_file} lies outside the project, so no image of it has that "
            "file; copy it to schemas/"
        )
    return path.as_posix()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hides warnings and everything below errors; importing TFX alone logs a screenful."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _compiled_by_tfx(config: PipelineConfig, image: str) -> Spec:
    schema_file = schema_in_image(config)
    with quiet():
        from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner as kubeflow_v2

        from pipeline.pipeline import Locations, create_pipeline

        locations = Locations(
            pipeline_root=config.kubeflow.pipeline_root,
            data_root=placeholder(DATA_ROOT),
            serving_folder=f"{placeholder(SERVING_ROOT)}/{config.name}",
            schema_file=schema_file,
        )
        pipeline = create_pipeline(config, locations, runner="kubeflow")
        runner = kubeflow_v2.KubeflowV2DagRunner(
            kubeflow_v2.KubeflowV2DagRunnerConfig(default_image=image, use_pipeline_spec_2_1=True)
        )
        job = runner.run(pipeline, write_out=False)
    # TFX builds a Vertex AI job; Kubeflow needs only the spec in it.
    spec: Spec = _whole_numbers(job["pipelineSpec"])
    return spec


def _add_parameters(spec: Spec, config: PipelineConfig) -> None:
    """Adds the pipeline parameters, which a run may change without compiling again."""
    where, spans = config.kubeflow, config.spans
    newest = step.NEWEST if spans.last is None else spans.last
    parameters = {
        step.SPAN: ("NUMBER_INTEGER", newest, f"last span to read; {step.NEWEST}: the newest"),
        step.WINDOW: ("NUMBER_INTEGER", spans.window, "spans to read"),
        DATA_ROOT: ("STRING", where.data_root, "folder or URL that the sources lie in"),
        SERVING_ROOT: ("STRING", where.serving_root, "mounted folder of served models"),
    }
    spec["root"]["inputDefinitions"] = {
        "parameters": {
            name: {
                "parameterType": kind,
                "defaultValue": default,
                "isOptional": True,
                "description": text,
            }
            for name, (kind, default, text) in parameters.items()
        }
    }
    for task in tasks_of(spec).values():
        given = task.get("inputs", {}).get("parameters", {})
        wanted = [name for name in parameters if placeholder(name) in json.dumps(given)]
        if given.pop(step.RANGE_CONFIG, None):  # step.py makes it of these two
            wanted += [step.SPAN, step.WINDOW]
        taken = spec["components"][task["componentRef"]["name"]].get("inputDefinitions", {})
        taken.get("parameters", {}).pop(step.RANGE_CONFIG, None)
        for name in wanted:
            given[name] = {"componentInputParameter": name}
            taken["parameters"][name] = {"parameterType": parameters[name][0]}


def _check_names(config: PipelineConfig, names: set[str]) -> None:
    """Raises ConfigError for settings of an unknown step, which would be ignored silently."""
    where = config.kubeflow
    for key, given in (
        ("steps", where.named_steps),
        *((f"secrets.{n}.steps", secret.steps) for n, secret in enumerate(where.secrets)),
    ):
        for name in given:
            if name not in names:
                raise ConfigError(
                    f"kubeflow.{key}: there is no step {name}; there are {', '.join(sorted(names))}"
                )


def _check_workers(config: PipelineConfig) -> None:
    """Raises ConfigError for workers outside a step's container, which cannot see its artifacts."""
    masters = {"spark.master": config.spark.master}
    if config.trainer.workers > 1:
        masters["trainer.spark.master"] = config.trainer.spark.master
    for key, master in masters.items():
        if not master.startswith("local"):
            raise ConfigError(
                f"{key}: {master} does not work on Kubeflow: {_NOT_SEEN}. Use local[*], and give "
                "the step cores and memory by kubeflow.steps"
            )
    beam = config.beam_pipeline_args or []
    runners = [argument.partition("=")[2] for argument in beam if argument.startswith("--runner=")]
    if step.DATAFLOW in beam and not config.kubeflow.pipeline_root.startswith("gs://"):
        raise ConfigError(
            "beam_pipeline_args: Dataflow reads and writes artifacts by their URIs: give "
            f"kubeflow.pipeline_root a bucket of gs://, not {config.kubeflow.pipeline_root}"
        )
    for runner in runners:
        if runner in _RUNNERS_ELSEWHERE and "--environment_type=LOOPBACK" not in beam:
            raise ConfigError(
                f"beam_pipeline_args: --runner={runner} does not work on Kubeflow: {_NOT_SEEN}. "
                "Leave it out, or take Dataflow"
            )


def _give_settings(
    config: PipelineConfig, name: str, task: dict[str, Any], container: dict[str, Any]
) -> None:
    """Sets the command, retries and resources of one step."""
    settings = config.kubeflow.step(name)
    module = _REPORT_STEP if name == REPORT else step.__name__
    container["command"] = ["python", "-m", module]
    # Removes TFX's ExampleGen driver. Open-source Kubeflow never runs it, it does not know hours or
    # windows, and SparkExampleGen's executor resolves span and fingerprint without it.
    container.pop("lifecycle", None)
    # Kubeflow's cache key contains the ids of inputs in ML Metadata, which are new in each run
    # after SparkExampleGen; and it ignores the files that SparkExampleGen reads.
    task.pop("cachingOptions", None)
    if settings.retries:
        task["retryPolicy"] = {
            "maxRetryCount": settings.retries,
            "backoffDuration": f"{settings.backoff_seconds}s",
            "backoffFactor": 2,
        }
    wanted = {
        "cpuRequest": settings.cpu,
        "cpuLimit": settings.cpu_limit,
        "memoryRequest": settings.memory_gb,
        "memoryLimit": settings.memory_limit_gb,
    }
    resources: dict[str, Any] = {k: value for k, value in wanted.items() if value is not None}
    if settings.gpus:
        resources["accelerator"] = {"type": settings.gpu_resource, "count": str(settings.gpus)}
    if resources:
        container["resources"] = _whole_numbers(resources)


def _whole_numbers(value: Any) -> Any:
    """Turns 3.0 into 3: protobuf's Struct has only doubles, and releases print them differently."""
    if isinstance(value, dict):
        return {key: _whole_numbers(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
