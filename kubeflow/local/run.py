"""Walks a compiled pipeline: what each step takes, what it is told, and what came of it."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kubeflow.local.engines import Engine
from kubeflow.local.steps import Json, Pipeline, Step
from kubeflow.record import Record
from kubeflow.step import SAYS
from kubeflow.step_account import merged

_OUTPUT = "executor_output.json"
_KILLED = (137, -9)
_RUN_ID = "{{$.pipeline_job_uuid}}"  # Kubeflow's placeholder, as a whole constant


@dataclasses.dataclass(frozen=True)
class Ended:
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
    report: Callable[[Ended], None],
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
        self._artifacts: dict[str, dict[str, Json]] = {}  # step -> key -> RuntimeArtifact
        self._results: dict[str, Json] = {}  # step -> parameter -> value

    def run(self, step: Step) -> Ended:
        parameters = self._parameters(step)
        inputs = {key: self._artifacts[one.step][one.key] for key, one in step.inputs.items()}
        # What other steps said is in their own records.
        own = {key: value for key, value in parameters.items() if key not in step.results}
        number = self._record.begin(step.name, own)
        place = self._folder / f"{step.name}-{number}"  # TFX takes the number for the execution's
        place.mkdir(parents=True)
        outputs = {
            key: {"name": key, "uri": str(place / key), "type": kind, "metadata": {}}
            for key, kind in step.outputs.items()
        }
        invocation = {
            "inputs": {"parameterValues": parameters, "artifacts": _lists(inputs)},
            "outputs": {
                "artifacts": _lists(outputs),
                "parameters": {key: {"outputFile": str(place / key)} for key in step.gives},
                "outputFile": str(place / _OUTPUT),
            },
        }
        taken = {key: (one.step, one.key) for key, one in step.inputs.items()}
        log = place / "log.txt"
        began = time.monotonic()
        try:
            status = self._engine.run(step, _command(step.command, invocation), log)
        except BaseException:  # Ctrl-C, say
            self._record.end(number, "failed", taken, {})
            raise
        reason = _reason(step, status, log)
        seconds = time.monotonic() - began
        if reason is None:
            said = _said(place / _OUTPUT)
            outputs = {key: merged(one, said, key) for key, one in outputs.items()}
            self._artifacts[step.name] = outputs
            self._results[step.name] = _results(step, said, place)
            reason = _not_given(step, self._results[step.name])
        self._record.end(number, "complete" if reason is None else "failed", taken, outputs)
        return Ended(step.name, seconds, reason, log, outputs)

    def _parameters(self, step: Step) -> Json:
        constants = {k: self._folder.name if v == _RUN_ID else v for k, v in step.constants.items()}
        return {
            **constants,
            **{key: self._arguments[name] for key, name in step.taken.items()},
            **{key: self._results[one.step][one.key] for key, one in step.results.items()},
        }


def _command(command: Sequence[str], invocation: Json) -> list[str]:
    text = json.dumps(invocation)
    return [text if word == "{{$}}" else word for word in command]


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
