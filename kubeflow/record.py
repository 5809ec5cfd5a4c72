"""What a run did, for ML Metadata: with the types that TFX's own runners give."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from kubeflow.step_account import Json

_KINDS = {"integer": mlmd.INT, "number": mlmd.DOUBLE, "double": mlmd.DOUBLE, "string": mlmd.STRING}
_INT64 = 1 << 63
_CUSTOM = "custom:"  # how TFX marks one with the name of a declared one
Output = tuple[str, str]  # a step, and the key of what it gives
State = Literal["complete", "failed"]
_STATES: dict[State, Any] = {
    "complete": mlmd.Execution.COMPLETE,
    "failed": mlmd.Execution.FAILED,
}


class Record:
    """One run in a store of SQLite.

    Args:
      path: of the file; made if it is missing.
      pipeline: its name.
      run_id: of this run.
    """

    def __init__(self, path: Path, pipeline: str, run_id: str):
        path.parent.mkdir(parents=True, exist_ok=True)
        config = mlmd.ConnectionConfig()
        config.sqlite.filename_uri = str(path)
        config.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        self._store = metadata_store.MetadataStore(config)
        self._pipeline = pipeline
        self._contexts = [
            self._context("pipeline", pipeline),
            self._context("pipeline_run", run_id),
        ]
        self._steps: dict[int, str] = {}  # of each execution
        self._artifacts: dict[Output, mlmd.Artifact] = {}  # with their ids

    def begin(self, step: str, parameters: Mapping[str, Any]) -> int:
        """A step runs; returns the execution's id."""
        type_id = self._store.put_execution_type(mlmd.ExecutionType(name=step))
        execution = mlmd.Execution(type_id=type_id, last_known_state=mlmd.Execution.RUNNING)
        for name, value in parameters.items():
            _set(execution.custom_properties, name, value)
        contexts = [*self._contexts, self._context("node", f"{self._pipeline}.{step}")]
        found, _, _ = self._store.put_execution(execution, [], contexts)
        self._steps[found] = step
        return int(found)

    def end(
        self,
        execution_id: int,
        state: State,
        inputs: Mapping[str, Output],
        outputs: Mapping[str, Json],
    ) -> None:
        """What a step took, key -> output of another one, and gave, key -> RuntimeArtifact; inputs
        that no step has given are left out.
        """
        (execution,) = self._store.get_executions_by_id([execution_id])
        execution.last_known_state = _STATES[state]
        taken = {
            key: self._artifacts[output]
            for key, output in inputs.items()
            if output in self._artifacts
        }
        done = state != "failed"
        given = {key: self._artifact(one) for key, one in outputs.items()} if done else {}
        seen: set[int] = set()  # an artifact can be an input once only
        pairs = []
        for key, artifact in taken.items():
            if artifact.id not in seen:
                seen.add(artifact.id)
                pairs.append((artifact, _event(mlmd.Event.INPUT, key)))
        pairs += [(artifact, _event(mlmd.Event.OUTPUT, key)) for key, artifact in given.items()]
        _, ids, _ = self._store.put_execution(execution, pairs, self._contexts)
        for number, artifact in zip(ids, (one for one, _ in pairs), strict=True):
            artifact.id = number
        step = self._steps[execution_id]
        self._artifacts |= {(step, key): artifact for key, artifact in given.items()}

    def number(self, output: Output) -> int:
        """The id of the artifact that a step gave."""
        return int(self._artifacts[output].id)

    def _context(self, kind: str, name: str) -> mlmd.Context:
        found = self._store.get_context_by_type_and_name(kind, name)
        if found is not None:
            return found
        type_id = self._store.put_context_type(mlmd.ContextType(name=kind))
        context = mlmd.Context(type_id=type_id, name=name)
        (context.id,) = self._store.put_contexts([context])
        return context

    def _artifact(self, one: Json) -> mlmd.Artifact:
        schema = yaml.safe_load(one["type"].get("instanceSchema", "{}"))  # of TFX; KFP has a title
        declared = schema.get("properties", {})
        title = schema.get("title") or one["type"]["schemaTitle"]
        kind = mlmd.ArtifactType(name=title.rpartition(".")[-1])
        for name, described in declared.items():
            kind.properties[name] = _KINDS[described["type"]]
        type_id = self._store.put_artifact_type(kind, can_add_fields=True, can_omit_fields=True)
        artifact = mlmd.Artifact(type_id=type_id, uri=one["uri"], state=mlmd.Artifact.LIVE)
        for name, value in one.get("metadata", {}).items():
            where = artifact.properties if name in declared else artifact.custom_properties
            if name in declared and declared[name]["type"] == "integer":
                value = int(value)
            _set(where, name.removeprefix(_CUSTOM), value)
        return artifact


def _event(kind: Any, key: str) -> mlmd.Event:
    event = mlmd.Event(type=kind)
    event.path.steps.add(key=key)
    event.path.steps.add(index=0)
    return event


def _set(properties: Any, name: str, value: Any) -> None:
    if isinstance(value, bool):
        properties[name].bool_value = value
    elif isinstance(value, int | float) and float(value).is_integer() and abs(value) < _INT64:
        properties[name].int_value = int(value)  # JSON knows one kind of number
    elif isinstance(value, int | float):
        properties[name].double_value = value
    else:
        properties[name].string_value = str(value)
