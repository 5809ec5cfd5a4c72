"""The last task of a compiled pipeline, which writes the run's report; report_step.py is its code.

It takes what each step has told (told.py), and the few artifacts whose files the report reads:
Kubeflow downloads what a step takes, and examples and models may be large.
"""

from __future__ import annotations

from typing import Any

import yaml

from kubeflow.told import TOLD
from pipeline.config import ConfigError

NAME = "Report"
PAGE = "report"  # the artifact
RUN_ID = "run_id"  # the parameter, beside one for each step
_READ = (
    "ExampleStatistics",
    "ExampleAnomalies",
    "QuarantinedRecords",
    "ModelRun",
    "ModelEvaluation",
)
_STRING = {"parameterType": "STRING"}


def add_report(spec: dict[str, Any], image: str) -> None:
    """Adds the task, and an output to each other one: what it tells.

    Args:
      spec: a PipelineSpec, changed in place.
      image: of the step.

    Raises:
      ConfigError: the application has a component of the task's name.
    """
    tasks, components = spec["root"]["dag"]["tasks"], spec["components"]
    if NAME in tasks:
        raise ConfigError(
            f"the pipeline has a component {NAME}, as the step that writes the report is called; "
            "give it another id, or do without: report: false"
        )
    steps = sorted(tasks)
    artifacts = {}
    for name in steps:
        gives = components[tasks[name]["componentRef"]["name"]].setdefault("outputDefinitions", {})
        gives.setdefault("parameters", {})[TOLD] = _STRING
        for key, one in gives.get("artifacts", {}).items():
            if _title(one["artifactType"]) in _READ:
                artifacts[f"{name}_{key}"] = (name, key, one["artifactType"])
    label = f"{NAME}_executor"
    components[NAME] = {
        "executorLabel": label,
        "inputDefinitions": {
            "artifacts": {name: {"artifactType": kind} for name, (_, _, kind) in artifacts.items()},
            "parameters": dict.fromkeys([RUN_ID, *steps], _STRING),
        },
        "outputDefinitions": {
            "artifacts": {
                PAGE: {"artifactType": {"schemaTitle": "system.HTML", "schemaVersion": "0.0.1"}}
            }
        },
    }
    spec["deploymentSpec"]["executors"][label] = {
        "container": {
            "image": image,
            "args": ["--pipeline", spec["pipelineInfo"]["name"], "--executor_input", "{{$}}"],
        }
    }
    tasks[NAME] = {
        "componentRef": {"name": NAME},
        "dependentTasks": steps,
        "inputs": {
            "artifacts": {
                name: {"taskOutputArtifact": {"outputArtifactKey": key, "producerTask": step}}
                for name, (step, key, _) in artifacts.items()
            },
            "parameters": {
                RUN_ID: {"runtimeValue": {"constant": "{{$.pipeline_job_uuid}}"}},
                **{
                    step: {
                        "taskOutputParameter": {"outputParameterKey": TOLD, "producerTask": step}
                    }
                    for step in steps
                },
            },
        },
        "taskInfo": {"name": NAME},
    }


def _told_by(step: str) -> dict[str, str]:
    return {"outputParameterKey": TOLD, "producerTask": step}


def _title(kind: dict[str, Any]) -> str:
    """'ExampleStatistics' of 'tfx.ExampleStatistics'."""
    schema = yaml.safe_load(kind.get("instanceSchema", "{}"))
    return str(schema.get("title", "")).rpartition(".")[-1]
