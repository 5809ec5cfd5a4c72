"""Adds the last task, which writes the run's report, to a compiled pipeline.

report_step.py is the task's code. Its inputs are each step's account (step_account.py) and the few
artifacts whose files the report reads. Kubeflow downloads all inputs of a step, and examples,
models and rejected records may be large.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from kubeflow.step_account import ACCOUNT
from metadata import names
from pipeline.config import ConfigError

NAME = "Report"
PAGE = "report"  # the artifact
RUN_ID = "run_id"  # a parameter
ACCOUNT_OF = "account_of_"  # prefix of a parameter for each step
_READ = (
    names.EXAMPLE_STATISTICS,
    names.EXAMPLE_ANOMALIES,
    names.MODEL_RUN,
    names.MODEL_EVALUATION,
    names.DECISION,
    names.TREE_COMPARISON,
)
_STRING = {"parameterType": "STRING"}

Json = dict[str, Any]


def add_report(spec: Json, image: str) -> None:
    """Adds the task, and the output `account` to each other task.

    Args:
      spec: PipelineSpec, which is changed in place.
      image: Image of the step.

    Raises:
      ConfigError: The application has a component of the task's name, or an output of that name.
    """
    tasks = spec["root"]["dag"]["tasks"]
    if NAME in tasks:
        raise ConfigError(
            f"the pipeline has a component {NAME}, the id of the step that writes the report; "
            "give it another id, or set report: false"
        )
    outputs = {name: _component(spec, name).setdefault("outputDefinitions", {}) for name in tasks}
    for name, gives in sorted(outputs.items()):
        if ACCOUNT in gives.setdefault("parameters", {}):
            raise ConfigError(
                f"{name} has an output {ACCOUNT}, the name of the output for the report; give it "
                "another name, or set report: false"
            )
        gives["parameters"][ACCOUNT] = _STRING
    artifacts = {
        f"{name}_{key}": (name, key, one["artifactType"])
        for name, gives in sorted(outputs.items())
        for key, one in gives.get("artifacts", {}).items()
        if _type(one["artifactType"]) in _READ
    }
    label = f"{NAME}_executor"
    spec["components"][NAME] = {
        "executorLabel": label,
        "inputDefinitions": {
            "artifacts": {name: {"artifactType": kind} for name, (_, _, kind) in artifacts.items()},
            "parameters": dict.fromkeys([RUN_ID, *(ACCOUNT_OF + name for name in tasks)], _STRING),
        },
        "outputDefinitions": {
            "artifacts": {
                PAGE: {"artifactType": {"schemaTitle": "system.HTML", "schemaVersion": "0.0.1"}}
            }
        },
    }
    spec["deploymentSpec"]["executors"][label] = {"container": _container(spec, image)}
    tasks[NAME] = _task(sorted(tasks), {n: (step, key) for n, (step, key, _) in artifacts.items()})


def _container(spec: Json, image: str) -> Json:
    graph = json.dumps(_graph(spec), sort_keys=True)
    options = ["--pipeline", spec["pipelineInfo"]["name"], "--graph", graph]
    return {"image": image, "args": [*options, "--executor_input", "{{$}}"]}


def _graph(spec: Json) -> dict[str, dict[str, list[str]]]:
    """Returns step -> input -> (the step that produces it, its output key)."""
    return {
        name: {
            key: [one["taskOutputArtifact"][part] for part in ("producerTask", "outputArtifactKey")]
            for key, one in task.get("inputs", {}).get("artifacts", {}).items()
        }
        for name, task in spec["root"]["dag"]["tasks"].items()
    }


def _task(steps: list[str], artifacts: dict[str, tuple[str, str]]) -> Json:
    accounts = {ACCOUNT_OF + step: _output("Parameter", step, ACCOUNT) for step in steps}
    return {
        "componentRef": {"name": NAME},
        "dependentTasks": steps,
        "inputs": {
            "artifacts": {
                name: _output("Artifact", step, key) for name, (step, key) in artifacts.items()
            },
            "parameters": {
                RUN_ID: {"runtimeValue": {"constant": "{{$.pipeline_job_uuid}}"}},
                **accounts,
            },
        },
        "taskInfo": {"name": NAME},
    }


def _output(kind: str, step: str, key: str) -> Json:
    return {f"taskOutput{kind}": {f"output{kind}Key": key, "producerTask": step}}


def _component(spec: Json, task: str) -> Json:
    name = spec["root"]["dag"]["tasks"][task]["componentRef"]["name"]
    found: Json = spec["components"][name]
    return found


def _type(kind: Json) -> str:
    """Returns the type's name, e.g. 'ExampleStatistics' for 'tfx.ExampleStatistics'."""
    schema = yaml.safe_load(kind.get("instanceSchema", "{}"))
    return str(schema.get("title", "")).rpartition(".")[-1]
