"""Reads and checks a compiled pipeline, and sorts its steps."""

from __future__ import annotations

import dataclasses
import graphlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from base.errors import ComponentError

Json = dict[str, Any]
_FROM_TEXT: dict[str, Callable[[str], Any]] = {
    "STRING": str,
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": float,
    "BOOLEAN": lambda text: {"true": True, "false": False}[text.lower()],
}
_NOT_HERE = ("triggerPolicy", "artifactIterator", "parameterIterator", "iteratorPolicy")


@dataclasses.dataclass(frozen=True)
class StepOutput:
    """An output of a step that is an input of another."""

    step: str
    key: str


@dataclasses.dataclass(frozen=True)
class Step:
    """One container step.

    Attributes:
      name: Name of the task.
      image, command: Image and command of the container; the command has placeholders.
      constants: Parameter -> value.
      taken: Parameter -> the pipeline parameter that it is set to.
      results: Parameter -> the step output that it is set to.
      inputs: Artifact key -> the step output that it comes from.
      outputs: Artifact key -> ArtifactTypeSchema.
      gives: Output parameters.
      after: Steps that must end before.
      memory_gb: Memory limit in GB; None without one.
      mounts: Claim -> path.
      variables: Environment variables that come from secrets.
    """

    name: str
    image: str
    command: tuple[str, ...]
    constants: Mapping[str, Any]
    taken: Mapping[str, str]
    results: Mapping[str, StepOutput]
    inputs: Mapping[str, StepOutput]
    outputs: Mapping[str, Json]
    gives: frozenset[str]
    after: frozenset[str]
    memory_gb: float | None
    mounts: Mapping[str, str]
    variables: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """A compiled pipeline.

    Attributes:
      name: Name of the pipeline.
      root: URI of the folder of all artifacts.
      steps: Steps in an order in which they can run.
      parameters: Parameter -> default value.
      kinds: Parameter -> KFP parameter type.
    """

    name: str
    root: str
    steps: tuple[Step, ...]
    parameters: Mapping[str, Any]
    kinds: Mapping[str, str]

    def arguments(self, given: Mapping[str, str]) -> Json:
        """Returns the defaults, overridden by values that a person gave as text.

        Raises:
          ComponentError: A parameter is unknown, of another type, or has no value.
        """
        values = dict(self.parameters)
        for name, text in given.items():
            if name not in self.kinds:
                known = ", ".join(sorted(self.kinds)) or "none"
                raise ComponentError(f"--param {name}: the pipeline has {known}")
            try:
                values[name] = _FROM_TEXT.get(self.kinds[name], str)(text)
            except (ValueError, KeyError):
                raise ComponentError(f"--param {name}: '{text}' is no {self.kinds[name]}") from None
        for name in self.kinds:
            if name not in values:
                raise ComponentError(f"--param {name} is required: it has no default")
        for name, value in values.items():
            # Kubeflow's launcher puts it into JSON without escaping.
            if isinstance(value, str) and json.dumps(value, ensure_ascii=False) != f'"{value}"':
                raise ComponentError(
                    f"--param {name}: no quotation mark, backslash or control character may be in "
                    "it: Kubeflow puts it into JSON as it is"
                )
        return values


def read_pipeline(path: Path) -> Pipeline:
    """Reads a compiled pipeline.

    Raises:
      ComponentError: The file is missing, no compiled pipeline, or invalid; the line says where.
    """
    try:
        documents = [*yaml.safe_load_all(path.read_text("utf-8"))]
    except FileNotFoundError:
        raise ComponentError(
            f"there is no {path}; python -m kubeflow.compile --config ... --output {path} makes it"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        text = " ".join(str(error).split())
        raise ComponentError(f"{path} cannot be read as YAML: {text}") from None
    spec = documents[0] if documents else None
    if not isinstance(spec, dict) or "root" not in spec or "deploymentSpec" not in spec:
        raise ComponentError(
            f"{path} is not a compiled pipeline: it lacks `root` or `deploymentSpec`"
        )
    platform = documents[1] if len(documents) > 1 else {}
    _check_format(path, spec)
    return _Reader(path, spec, platform or {}).pipeline()


def _check_format(path: Path, spec: Json) -> None:
    """Raises ComponentError if the spec does not match KFP's proto, e.g. for an unknown key."""
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    try:
        json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    except json_format.ParseError as error:
        text = " ".join(str(error).split())
        raise ComponentError(f"{path} is not a valid PipelineSpec: {text}") from None


class _Reader:
    def __init__(self, path: Path, spec: Json, platform: Json):
        self._path, self._spec = path, spec
        self._tasks: Json = spec["root"].get("dag", {}).get("tasks", {})
        nodes = platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {})
        self._nodes: Json = nodes.get("executors", {})

    def pipeline(self) -> Pipeline:
        if not self._tasks:
            raise self._error("root", "it has no tasks")
        steps = {name: self._step(name, task) for name, task in self._tasks.items()}
        for step in steps.values():
            self._check_inputs(step, steps)
        taken = self._spec["root"].get("inputDefinitions", {}).get("parameters", {})
        for step in steps.values():
            for key, name in step.taken.items():
                if name not in taken:
                    raise self._error(step.name, f"{key}: the pipeline has no parameter {name}")
        return Pipeline(
            self._spec.get("pipelineInfo", {}).get("name", self._path.stem),
            self._spec.get("defaultPipelineRoot", "").rstrip("/"),
            tuple(steps[name] for name in self._order(steps)),
            {name: one["defaultValue"] for name, one in taken.items() if "defaultValue" in one},
            {name: one.get("parameterType", "STRING") for name, one in taken.items()},
        )

    def _order(self, steps: Mapping[str, Step]) -> list[str]:
        try:
            graph = {name: sorted(step.after) for name, step in steps.items()}
            return [*graphlib.TopologicalSorter(graph).static_order()]
        except graphlib.CycleError as error:
            circle = " -> ".join(reversed(error.args[1]))
            raise self._error("tasks", f"they wait for each other: {circle}") from None

    def _step(self, name: str, task: Json) -> Step:
        for key in _NOT_HERE:
            if key in task:
                raise self._error(name, f"`{key}` does not run here, in Kubeflow only")
        component = self._named("components", task.get("componentRef", {}).get("name"), name)
        executors = self._spec["deploymentSpec"].get("executors", {})
        label = str(component.get("executorLabel"))
        if label not in executors:
            raise self._error(name, f"there is no executor {label}")
        container = executors[label].get("container")
        if not container:
            kinds = ", ".join(executors[label]) or "nothing"
            raise self._error(name, f"its executor is {kinds}; containers are run here")
        given = task.get("inputs", {}).get("parameters", {})
        inputs = {
            key: self._produced(name, key, one.get("taskOutputArtifact"), "outputArtifactKey")
            for key, one in task.get("inputs", {}).get("artifacts", {}).items()
        }
        results = {
            key: self._produced(name, key, one["taskOutputParameter"], "outputParameterKey")
            for key, one in given.items()
            if "taskOutputParameter" in one
        }
        producers = {one.step for one in (*inputs.values(), *results.values())}
        out = component.get("outputDefinitions", {})
        node = self._nodes.get(label, {})
        return Step(
            name=name,
            image=container.get("image", ""),
            command=(*container.get("command", []), *container.get("args", [])),
            constants={
                key: one["runtimeValue"].get("constant")
                for key, one in given.items()
                if "runtimeValue" in one
            },
            taken={
                key: one["componentInputParameter"]
                for key, one in given.items()
                if "componentInputParameter" in one
            },
            results=results,
            inputs=inputs,
            outputs={k: v["artifactType"] for k, v in out.get("artifacts", {}).items()},
            gives=frozenset(out.get("parameters", {})),
            after=frozenset({*producers, *task.get("dependentTasks", [])}),
            memory_gb=container.get("resources", {}).get("memoryLimit"),
            mounts={one["constant"]: one["mountPath"] for one in node.get("pvcMount", [])},
            variables=tuple(
                variable["envVar"]
                for secret in node.get("secretAsEnv", [])
                for variable in secret["keyToEnv"]
            ),
        )

    def _produced(self, name: str, key: str, given: Json | None, what: str) -> StepOutput:
        if not given:
            raise self._error(name, f"{key}: only outputs of other steps are run here")
        return StepOutput(given.get("producerTask", ""), given.get(what, ""))

    def _check_inputs(self, step: Step, steps: Mapping[str, Step]) -> None:
        for other in step.after:
            if other not in steps:
                raise self._error(step.name, f"it waits for {other}, which is no step")
        for key, wanted in step.inputs.items():
            self._check_given(step.name, key, wanted, steps[wanted.step].outputs)
        for key, wanted in step.results.items():
            self._check_given(step.name, key, wanted, steps[wanted.step].gives)

    def _check_given(self, name: str, key: str, wanted: StepOutput, there: Iterable[str]) -> None:
        if wanted.key not in there:
            known = ", ".join(sorted(there)) or "nothing"
            raise self._error(name, f"{key}: {wanted.step} gives no {wanted.key}; it gives {known}")

    def _named(self, section: str, key: str | None, task: str) -> Json:
        found = self._spec.get(section, {}).get(key or "")
        if not isinstance(found, dict):
            raise self._error(task, f"there is no component {key}")
        return found

    def _error(self, where: str, what: str) -> ComponentError:
        return ComponentError(f"{self._path}: {where}: {what}")
