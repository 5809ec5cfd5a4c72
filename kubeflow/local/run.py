"""Runs the steps of a compiled pipeline, and records their inputs, outputs and states."""

from __future__ import annotations

import dataclasses
import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kubeflow.local.engines import Engine, Task
from kubeflow.local.steps import Json, Pipeline, Step
from kubeflow.record import Output, Record
from kubeflow.step import LOGS, SAYS, local_path
from kubeflow.step_account import merge_output

_OUTPUT = "output_metadata.json"
_LOG_TYPE = {"schemaTitle": "system.Artifact"}
_SESSION = json.dumps({"Provider": "minio", "Params": {"fromEnv": "false"}})  # has no credentials
_KILLED = (137, -9)
_RUN_ID = "{{$.pipeline_job_uuid}}"  # Kubeflow's placeholder, which is a whole constant


@dataclasses.dataclass(frozen=True)
class StepResult:
    """The result of a step.

    Attributes:
      step: Name of the step.
      seconds: Running time of its command.
      reason: Why it failed, in one line; None if it succeeded.
      log: Log file of the command.
      outputs: Key -> RuntimeArtifact.
    """

    step: str
    seconds: float
    reason: str | None
    log: Path
    outputs: Mapping[str, Json]


def run_pipeline(
    pipeline: Pipeline,
    arguments: Mapping[str, Any],
    engine: Engine,
    folder: Path,
    record: Record,
    report: Callable[[StepResult], None],
) -> bool:
    """Runs the steps one by one; a step that depends on a failed one is skipped.

    Args:
      pipeline: Pipeline to run.
      arguments: All parameters of the pipeline.
      engine: Engine that runs the commands.
      folder: Absolute folder of this run's artifacts and logs; its name is the run's id.
      record: Record of this run.
      report: Function that is called with the result of each step.

    Returns:
      Whether all steps succeeded.
    """
    walk = _Walk(arguments, engine, folder, record)
    failed: set[str] = set()
    for step in pipeline.steps:
        if step.after & failed:
            failed.add(step.name)
            continue
        ended = walk.run(step)
        report(ended)
        if ended.reason is not None:
            failed.add(step.name)
    return not failed


class _Walk:
    def __init__(self, arguments: Mapping[str, Any], engine: Engine, folder: Path, record: Record):
        self._arguments, self._engine = arguments, engine
        self._folder, self._record = folder, record
        self._given: dict[Output, Json] = {}  # RuntimeArtifact, as an input
        self._places: dict[Output, Path] = {}  # on this machine
        self._results: dict[str, Json] = {}  # step -> parameter -> value

    def run(self, step: Step) -> StepResult:
        parameters = self._parameters(step)
        # Values from other steps are in the records of those steps.
        own = {key: value for key, value in parameters.items() if key not in step.results}
        number = self._record.begin(step.name, own)
        folder = self._folder / step.name / str(uuid.uuid4())
        folder.mkdir(parents=True)
        outputs = {
            key: {"name": key, "uri": self._engine.uri(folder / key), "type": kind}
            for key, kind in {**step.outputs, LOGS: _LOG_TYPE}.items()
        }
        taken = {key: (one.step, one.key) for key, one in step.inputs.items()}
        inputs = {key: self._given[output] for key, output in taken.items()}
        # Under podman, the outputs are where Kubeflow's launcher has them.
        inside = Path(local_path(self._engine.uri(folder)))
        invocation = {
            "inputs": _filled(parameterValues=parameters, artifacts=_lists(inputs)),
            "outputs": _filled(
                artifacts=_lists(outputs),
                parameters={key: {"outputFile": str(inside / key)} for key in step.gives},
                outputFile=str(inside / _OUTPUT),
            ),
        }
        task = Task(
            step, folder, folder / LOGS, [self._places[output] for output in taken.values()]
        )
        began = time.monotonic()
        try:
            status = self._engine.run(task, command_line(step.command, invocation))
        except BaseException:  # for instance Ctrl-C
            self._record.end(number, "failed", taken, {})
            raise
        reason = _reason(step, status, task.log)
        seconds = time.monotonic() - began
        made: dict[str, Json] = {}
        if reason is None:
            said = _said(folder / _OUTPUT)
            made = {key: merge_output(outputs[key], said, key) for key in step.outputs}
            self._results[step.name] = _results(step, said, folder)
            reason = _not_given(step, self._results[step.name])
        here = {key: self._on_this_machine(one, folder / key) for key, one in made.items()}
        self._record.end(number, "complete" if reason is None else "failed", taken, here)
        if reason is None:
            for key, one in made.items():
                self._places[step.name, key] = Path(here[key]["uri"])
                self._given[step.name, key] = self._as_input(step.name, key, one)
        return StepResult(step.name, seconds, reason, task.log, here)

    def _on_this_machine(self, artifact: Json, path: Path) -> Json:
        ours = artifact["uri"] == self._engine.uri(path)
        return {**artifact, "uri": str(path)} if ours else artifact

    def _as_input(self, step: str, key: str, artifact: Json) -> Json:
        """Returns an output as Kubeflow gives it to the next step.

        Its name is its id in ML Metadata, it has no type, and Kubeflow adds metadata (see the real
        driver's files in tests/kubeflow/driver).
        """
        added = {"display_name": key, "store_session_info": _SESSION}
        return {
            "name": str(self._record.number((step, key))),
            "type": {"instanceSchema": ""},
            "uri": artifact["uri"],
            "metadata": {**artifact["metadata"], **added},
        }

    def _parameters(self, step: Step) -> Json:
        constants = {k: self._folder.name if v == _RUN_ID else v for k, v in step.constants.items()}
        return {
            **constants,
            **{key: self._arguments[name] for key, name in step.taken.items()},
            **{key: self._results[one.step][one.key] for key, one in step.results.items()},
        }


def command_line(command: Sequence[str], invocation: Json) -> list[str]:
    """Fills in the placeholders of a command as Kubeflow's launcher does.

    It replaces them as plain text in the arguments, also within the ExecutorInput's JSON.
    """
    program, *words = command
    texts = {
        f"{{{{$.inputs.parameters['{name}']}}}}": _as_text(value)
        for name, value in invocation["inputs"].get("parameterValues", {}).items()
    }
    filled = [word.replace("{{$}}", json.dumps(invocation)) for word in words]
    for placeholder, text in texts.items():
        filled = [word.replace(placeholder, text) for word in filled]
    return [program, *filled]


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json.dumps(value, separators=(",", ":"))


def _filled(**fields: Any) -> Json:
    """Returns the fields that are not empty, as protobuf's JSON does."""
    return {key: value for key, value in fields.items() if value}


def _lists(artifacts: Mapping[str, Json]) -> Json:
    return {key: {"artifacts": [one]} for key, one in artifacts.items()}


def _said(path: Path) -> Json:
    """Reads the ExecutorOutput; {} if the container wrote none."""
    if not path.is_file():
        return {}
    found: Json = json.loads(path.read_text("utf-8"))
    return found


def _results(step: Step, said: Json, place: Path) -> Json:
    """Returns the output parameters of a step, from its ExecutorOutput or from one file each."""
    given: Json = said.get("parameterValues", {})
    files = {key: place / key for key in step.gives if key not in given}
    return given | {key: file.read_text("utf-8") for key, file in files.items() if file.is_file()}


def _not_given(step: Step, results: Json) -> str | None:
    missing = sorted(step.gives - results.keys())
    return (
        f"it did not give {', '.join(missing)}; was its image built from another version than the "
        "pipeline was compiled by? Build it again"
        if missing
        else None
    )


def _reason(step: Step, status: int, log: Path) -> str | None:
    if status == 0:
        return None
    if status in _KILLED:
        limit = f" (its limit: {step.memory_gb:g} GB)" if step.memory_gb else ""
        return (
            f"it was killed, most likely for its memory{limit}; give it more: "
            f"kubeflow.steps.{step.name}.memory_limit_gb"
        )
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    said = [line.removeprefix(SAYS) for line in lines if line.startswith(SAYS)]
    return (said or lines or [f"exit status {status} without any output"])[-1]
