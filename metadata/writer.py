"""Writes executions, artifacts and their contexts, and changes artifacts.

    writer = MetadataWriter.connect(connection, "mine")
    metrics = NewArtifact("OnlineMetrics", "/data/metrics.json", {"auc": 0.7})
    writer.record("streaming.OnlineEvaluation", {"hour": 7}, outputs=[("metrics", metrics)])

Executions get the contexts that TFX's runners give them, so readers see no difference.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

from ml_metadata import errors
from ml_metadata.metadata_store.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from metadata import names
from metadata.connection import Connection, connection_config
from metadata.opening import explained, store_name
from metadata.reader import MetadataReader

Value = bool | int | float | str
_PROPERTY_TYPES = {int: mlmd.INT, float: mlmd.DOUBLE, str: mlmd.STRING}
_STATES = {"complete": mlmd.Execution.COMPLETE, "failed": mlmd.Execution.FAILED}


@dataclasses.dataclass(frozen=True)
class NewArtifact:
    """An artifact that is about to be recorded.

    Attributes:
      type_name: Name of its type.
      uri: Its location.
      properties: Custom properties by name.
      declared_types: Types (int, float or str) of the properties that the artifact's type declares.
      declared: Values of the declared properties.
      created: Time of its creation, in seconds since the epoch. None stands for now.
    """

    type_name: str
    uri: str
    properties: Mapping[str, Value] = dataclasses.field(default_factory=dict)
    declared_types: Mapping[str, type] = dataclasses.field(default_factory=dict)
    declared: Mapping[str, Value] = dataclasses.field(default_factory=dict)
    created: float | None = None


class MetadataWriter:
    """Writes for one pipeline. Every method raises MetadataError if the store does not answer.

    Args:
      store: An open ML Metadata store.
      name: Name of the store in error messages.
      pipeline: Name of the pipeline; may be empty if only artifacts are changed.

    Attributes:
      reader: Reader of the same store, which may be empty.
    """

    def __init__(self, store: MetadataStore, name: str, pipeline: str = "") -> None:
        self.reader = MetadataReader(store, name)
        self._store, self._name, self._pipeline = store, name, pipeline
        self._running: dict[int, tuple[mlmd.Execution, list[mlmd.Context]]] = {}

    @classmethod
    def connect(
        cls, connection: Connection, pipeline: str = "", create: bool = True
    ) -> MetadataWriter:
        """Opens a store.

        Args:
          connection: The store.
          pipeline: Name of the pipeline; may be empty if only artifacts are changed.
          create: Whether to create a file or database that is missing.

        Raises:
          ConfigError: The variable with the password is not set.
          MetadataError: The store does not answer.
        """
        config = connection_config(connection, create)
        with explained(store_name(config), "write"):
            return cls(MetadataStore(config), store_name(config), pipeline)

    def record(
        self,
        type_name: str,
        properties: Mapping[str, Value],
        inputs: Sequence[tuple[str, int]] = (),
        outputs: Sequence[tuple[str, NewArtifact]] = (),
        name: str = "",
        run_id: str = "",
    ) -> int:
        """Writes an execution that has succeeded, atomically.

        Args:
          type_name: Name of its type, such as serving.Promotion. The part after the last dot is its
            node.
          properties: Values by name.
          inputs: Pairs of a key and an artifact's id. An id given twice counts under its first key.
          outputs: Pairs of a key and an artifact.
          name: Name that is unique among the executions of this type; empty for none.
          run_id: Id of its run; empty for none.

        Returns:
          Its id, or the id of the execution that already has this name.
        """
        known = self.reader.execution_named(type_name, name)
        if known is not None:
            return known
        with self._writing():
            execution = self._execution(type_name, properties)
            execution.last_known_state = mlmd.Execution.COMPLETE
            if name:
                execution.name = name
            try:
                return self._put(execution, self._contexts(type_name, run_id), inputs, outputs)[0]
            except errors.AlreadyExistsError:  # another process was faster
                known = self.reader.execution_named(type_name, name)
                if known is None:
                    raise
                return known

    def begin(
        self,
        type_name: str,
        properties: Mapping[str, Value],
        run_id: str,
        began: float | None = None,
    ) -> int:
        """Writes an execution that is running; returns its id.

        Args:
          type_name, properties, run_id: As for `record`.
          began: Time of its start, in seconds since the epoch. None stands for now.
        """
        with self._writing():
            execution = self._execution(type_name, properties)
            execution.last_known_state = mlmd.Execution.RUNNING
            _set_time(execution, names.ACTUAL_BEGAN_MS, began)
            contexts = self._contexts(type_name, run_id)
            execution.id, _ = self._put(execution, contexts, (), ())
        self._running[execution.id] = execution, contexts
        return int(execution.id)

    def end(
        self,
        execution_id: int,
        state: Literal["complete", "failed"],
        inputs: Sequence[tuple[str, int]] = (),
        outputs: Sequence[tuple[str, NewArtifact]] = (),
        ended: float | None = None,
    ) -> list[int]:
        """Writes the end of an execution; returns the ids of its outputs.

        Args:
          execution_id: Id that `begin` returned.
          state: Final state.
          inputs, outputs: As for `record`.
          ended: Time of its end, in seconds since the epoch. None stands for now.
        """
        execution, contexts = self._running.pop(execution_id)
        execution.last_known_state = _STATES[state]
        _set_time(execution, names.ACTUAL_ENDED_MS, ended)
        with self._writing():
            return self._put(execution, contexts, inputs, outputs)[1]

    def fail_running(self, run_id: str) -> None:
        """Marks the executions of an ended run that are still recorded as running as failed."""
        with self._writing():
            run = self._store.get_context_by_type_and_name(names.PIPELINE_RUN, run_id)
            executions = self._store.get_executions_by_context(run.id) if run else []
            left = [e for e in executions if e.last_known_state == mlmd.Execution.RUNNING]
            for execution in left:
                execution.last_known_state = mlmd.Execution.FAILED
            if left:
                self._store.put_executions(left)

    def change_artifacts(
        self,
        artifact_ids: Collection[int],
        properties: Mapping[str, Value | None] | None = None,
        state: Literal["marked_for_deletion", "deleted"] | None = None,
    ) -> None:
        """Changes the state and custom properties of artifacts; None removes a property."""
        with self._writing():
            artifacts = self._store.get_artifacts_by_id(artifact_ids) if artifact_ids else []
            for artifact in artifacts:
                for name, value in (properties or {}).items():
                    artifact.custom_properties.pop(name, None)
                    if value is not None:
                        _set(artifact.custom_properties, name, value)
                if state is not None:
                    artifact.state = mlmd.Artifact.State.Value(state.upper())
            if artifacts:
                self._store.put_artifacts(artifacts)

    def _execution(self, type_name: str, properties: Mapping[str, Value]) -> mlmd.Execution:
        kind = mlmd.ExecutionType(name=type_name)  # TFX may have declared properties for it
        type_id = self._store.put_execution_type(kind, can_omit_fields=True)
        execution = mlmd.Execution(type_id=type_id)
        for name, value in properties.items():
            _set(execution.custom_properties, name, value)
        return execution

    def _contexts(self, type_name: str, run_id: str) -> list[mlmd.Context]:
        """Returns the contexts of an execution, without ids; `_put` reuses those that exist."""
        node = f"{self._pipeline}.{type_name.rpartition('.')[2]}"
        wanted = {names.PIPELINE: self._pipeline, names.PIPELINE_RUN: run_id, names.NODE: node}
        found = []
        for kind, name in wanted.items():
            if name:
                context_type = mlmd.ContextType(name=kind)
                type_id = self._store.put_context_type(context_type, can_omit_fields=True)
                found.append(mlmd.Context(type_id=type_id, name=name))
        return found

    def _put(
        self,
        execution: mlmd.Execution,
        contexts: list[mlmd.Context],
        inputs: Sequence[tuple[str, int]],
        outputs: Sequence[tuple[str, NewArtifact]],
    ) -> tuple[int, list[int]]:
        """Writes an execution atomically; returns its id and the ids of its outputs."""
        once: dict[int, str] = {}
        for key, artifact_id in inputs:
            once.setdefault(artifact_id, key)
        events = _events(mlmd.Event.INPUT, once.values())
        for event, artifact_id in zip(events, once, strict=True):
            event.artifact_id = artifact_id
        made = [self._artifact(new) for _, new in outputs]
        pairs = [
            *zip(made, _events(mlmd.Event.OUTPUT, (key for key, _ in outputs)), strict=True),
            # An input is referred to by its id only: concurrent changes of it are kept.
            *((None, event) for event in events),
        ]
        found, artifact_ids, _ = self._store.put_execution(
            execution, pairs, contexts, reuse_context_if_already_exist=True
        )
        return int(found), [int(number) for number in artifact_ids[: len(made)]]

    def _artifact(self, new: NewArtifact) -> mlmd.Artifact:
        kind = mlmd.ArtifactType(name=new.type_name)
        for name, value_type in new.declared_types.items():
            kind.properties[name] = _PROPERTY_TYPES[value_type]
        artifact = mlmd.Artifact(
            type_id=self._store.put_artifact_type(kind, can_add_fields=True, can_omit_fields=True),
            uri=new.uri,
            state=mlmd.Artifact.LIVE,
        )
        for name, value in new.declared.items():
            _set(artifact.properties, name, value)
        for name, value in new.properties.items():
            _set(artifact.custom_properties, name, value)
        _set_time(artifact, names.ACTUAL_CREATED_MS, new.created)
        return artifact

    def _writing(self) -> contextlib.AbstractContextManager[None]:
        return explained(self._name, "write")


def _events(kind: mlmd.Event.Type, keys: Iterable[str]) -> list[mlmd.Event]:
    """Returns one event for each key. Events of the same key are numbered."""
    count: Counter[str] = Counter()
    events = []
    for key in keys:
        event = mlmd.Event(type=kind)
        event.path.steps.add(key=key)
        event.path.steps.add(index=count[key])
        count[key] += 1
        events.append(event)
    return events


def _set(properties: Any, name: str, value: Value) -> None:
    if isinstance(value, bool):
        properties[name].bool_value = value
    elif isinstance(value, str):
        properties[name].string_value = value
    elif isinstance(value, float):
        properties[name].double_value = value
    else:
        properties[name].int_value = value


def _set_time(of: mlmd.Execution | mlmd.Artifact, name: str, seconds: float | None) -> None:
    if seconds is not None:
        of.custom_properties[name].int_value = round(seconds * 1000)
