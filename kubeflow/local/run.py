"""Walks a compiled pipeline: what each step takes, what it is told, and what came of it."""

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
_SESSION = json.dumps({"Provider": "minio", "Params": {"fromEnv": "false"}})  # no account is here
_KILLED = (137, -9)
_RUN_ID = "{{$.pipeline_job_uuid}}"  # Kubeflow's placeholder, as a whole constant


@dataclasses.dataclass(frozen=True)
class StepResult:
    """How a step ended.

    Attributes:
      seconds: that its command ran.
      reason: why it failed, in a line; None if it did not.
      log: what the command said.
      outputs: key -> RuntimeArtifact.
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
    """Runs step after step; what waits for a failed one is not run.

    Args:
      pipeline: what to run.
      arguments: the pipeline's parameters, all of them.
      engine: what runs a command.
      folder: absolute, of this run, whose id is its name: artifacts and logs.
      record: of this run.
      report: is told of each step that has ended.

    Returns:
      Whether all steps did what they should.
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
        # What other steps said is in their own records.
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
        # Under podman the container has its outputs in the same place as the launcher's.
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
        except BaseException:  # Ctrl-C, say
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
        """An output as Kubeflow gives it to the next step: named by its number in ML Metadata,
        without its type, and with what Kubeflow adds (its driver's own: tests/kubeflow/driver).
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
    """The command with all placeholders filled in as Kubeflow's launcher does it: in the program's
    arguments, and as plain text, also within the JSON of the ExecutorInput.
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
    """Protobuf writes no field that is empty."""
    return {key: value for key, value in fields.items() if value}


def _lists(artifacts: Mapping[str, Json]) -> Json:
    return {key: {"artifacts": [one]} for key, one in artifacts.items()}


def _said(path: Path) -> Json:
    """The ExecutorOutput, which a container may leave out."""
    if not path.is_file():
        return {}
    found: Json = json.loads(path.read_text("utf-8"))
    return found


def _results(step: Step, said: Json, place: Path) -> Json:
    """The parameters that a step gives: as it says, or else in a file for each."""
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
    return (said or lines or [f"exit status {status}, and not a word"])[-1]
