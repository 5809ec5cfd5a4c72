"""What no component of a run did, as an execution in the pipeline's ML Metadata."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ml_metadata import errors, metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from base.errors import ComponentError
from metadata.connection import connection_config
from pipeline.config import PipelineConfig

Value = int | float | str


@dataclasses.dataclass(frozen=True)
class Done:
    """An execution that has ended.

    Attributes:
      kind: its type, such as 'serving.Promotion'; what follows the last dot is its node.
      properties: of it.
      inputs, outputs: (key, artifact); those that have no id yet are written with it.
      name: another one of this kind and name is not written; empty: it always is.
      run: of a run of its own, if it is one.
    """

    kind: str
    properties: Mapping[str, Value]
    inputs: Sequence[tuple[str, mlmd.Artifact]] = ()
    outputs: Sequence[tuple[str, mlmd.Artifact]] = ()
    name: str = ""
    run: str = ""


@contextlib.contextmanager
def opened(config: PipelineConfig) -> Iterator[metadata_store.MetadataStore]:
    """The store of a pipeline, to read and write.

    Raises:
      ComponentError: it cannot be reached, or breaks off.
    """
    try:
        store = metadata_store.MetadataStore(connection_config(config))
    except RuntimeError as error:
        raise _unreachable(config, error) from error
    try:
        yield store
    except errors.StatusError as error:
        raise _unreachable(config, error) from error


def _unreachable(config: PipelineConfig, error: Exception) -> ComponentError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return ComponentError(
        f"ML Metadata of {config.name} does not answer: {reason}; check `metadata` in the config "
        "and that the store is up, then try again"
    )


def put(store: metadata_store.MetadataStore, pipeline: str, done: Done) -> int:
    """Writes it; returns the id of the execution."""
    if done.name:
        known = store.get_execution_by_type_and_name(done.kind, done.name)
        if known is not None:
            return int(known.id)
    execution = mlmd.Execution(
        type_id=store.put_execution_type(mlmd.ExecutionType(name=done.kind)),
        last_known_state=mlmd.Execution.COMPLETE,
        name=done.name or None,
    )
    set_properties(execution, done.properties)
    node = done.kind.rpartition(".")[2]
    contexts = [context(store, "pipeline", pipeline), context(store, "node", f"{pipeline}.{node}")]
    if done.run:
        contexts.append(context(store, "pipeline_run", done.run))
    moment = time.time_ns() // 1_000_000
    kinds = ((mlmd.Event.INPUT, done.inputs), (mlmd.Event.OUTPUT, done.outputs))
    events = []
    for kind, artifacts in kinds:
        places: dict[str, int] = {}
        for key, artifact in artifacts:
            event = mlmd.Event(type=kind, milliseconds_since_epoch=moment)
            event.path.steps.add().key = key
            event.path.steps.add().index = places.get(key, 0)
            places[key] = places.get(key, 0) + 1
            if artifact.id:
                event.artifact_id = artifact.id
            events.append((artifact, event))
    try:
        found, _, _ = store.put_execution(execution, events, contexts)
    except errors.AlreadyExistsError:  # another process was faster
        known = store.get_execution_by_type_and_name(done.kind, done.name)
        if known is None:
            raise
        return int(known.id)
    return int(found)


def new_artifact(
    store: metadata_store.MetadataStore, kind: str, path: Path, properties: Mapping[str, Value]
) -> mlmd.Artifact:
    """An artifact that is not written yet.

    Args:
      store: learns its type.
      kind: name of the type.
      path: of what it stands for.
      properties: of it.
    """
    artifact = mlmd.Artifact(
        type_id=store.put_artifact_type(mlmd.ArtifactType(name=kind)),
        uri=str(path.resolve()),
        state=mlmd.Artifact.LIVE,
    )
    set_properties(artifact, properties)
    return artifact


def set_properties(of: mlmd.Artifact | mlmd.Execution, properties: Mapping[str, Value]) -> None:
    """As custom properties."""
    for name, value in properties.items():
        if isinstance(value, str):
            of.custom_properties[name].string_value = value
        elif isinstance(value, float):
            of.custom_properties[name].double_value = value
        else:
            of.custom_properties[name].int_value = value


def pushed_models(store: metadata_store.MetadataStore) -> dict[int, mlmd.Artifact]:
    """Version -> the artifact of its first push."""
    found: dict[int, mlmd.Artifact] = {}
    for artifact in store.get_artifacts_by_type("PushedModel"):
        version = artifact.custom_properties["pushed_version"].string_value
        if version.isdigit():
            found.setdefault(int(version), artifact)
    return found


def context(store: metadata_store.MetadataStore, kind: str, name: str) -> mlmd.Context:
    """The context of that name, made if there is none."""
    found = store.get_context_by_type_and_name(kind, name)
    if found is not None:
        return found
    try:
        type_id = store.get_context_type(kind).id
    except errors.NotFoundError:
        type_id = store.put_context_type(mlmd.ContextType(name=kind))
    made = mlmd.Context(type_id=type_id, name=name)
    (made.id,) = store.put_contexts([made])
    return made
