"""A promotion or rollback as an execution in ML Metadata, so that lineage shows it."""

from __future__ import annotations

import getpass
import os
import time

from ml_metadata import errors, metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from components.ancestry import WITHDRAWN
from pipeline.config import PipelineConfig
from pipeline.metadata import connection_config
from serving.release.switch import Switch


def record_in(config: PipelineConfig, switch: Switch) -> int:
    """`record` in the store of a pipeline."""
    store = metadata_store.MetadataStore(connection_config(config))
    return record(store, config.name, switch)


def record(store: metadata_store.MetadataStore, pipeline: str, switch: Switch) -> int:
    """Writes it: a run of its own, with the models that were and are live as its inputs.

    Args:
      store: of the pipeline.
      pipeline: its name.
      switch: what was done.

    Returns:
      The id of the execution.
    """
    kind = mlmd.ExecutionType(name=f"serving.{switch.kind}")
    execution = mlmd.Execution(
        type_id=store.put_execution_type(kind), last_known_state=mlmd.Execution.COMPLETE
    )
    properties = execution.custom_properties
    for name, release in (("before", switch.before), ("after", switch.after)):
        for label, version in release.labels.items():
            properties[f"{label}_{name}"].int_value = version
    for version, reason in switch.withdrawn.items():
        properties[f"withdrawn_{version}"].string_value = reason
    properties["user"].string_value = _user()
    moment = time.time_ns() // 1_000_000
    run = time.strftime("%Y%m%d-%H%M%S", time.gmtime(moment / 1000))
    contexts = [
        _context(store, "pipeline", pipeline),
        _context(store, "pipeline_run", f"{run}-{switch.kind.lower()}-{moment % 1000:03d}"),
        _context(store, "node", f"{pipeline}.{switch.kind}"),
    ]
    pushed = _pushed_models(store)
    for version, reason in switch.withdrawn.items():
        _mark(store, pushed.get(version), reason)
    _mark(store, pushed.get(switch.after.stable), None)  # a person may have brought it back
    events = []
    for key, version in (("before", switch.before.stable), ("after", switch.after.stable)):
        if version in pushed:
            event = mlmd.Event(type=mlmd.Event.INPUT, milliseconds_since_epoch=moment)
            event.path.steps.add().key = key
            event.path.steps.add().index = 0
            event.artifact_id = pushed[version].id
            events.append((pushed[version], event))
    found, _, _ = store.put_execution(execution, events, contexts)
    return int(found)


def _mark(
    store: metadata_store.MetadataStore, pushed: mlmd.Artifact | None, reason: str | None
) -> None:
    """On the model: no later training begins with one that was withdrawn
    (components/baseline_resolver); None: it was not, or not any more.
    """
    if pushed is None:
        return
    made = store.get_events_by_artifact_ids([pushed.id])
    pushers = [event.execution_id for event in made if event.type == mlmd.Event.OUTPUT]
    read = store.get_events_by_execution_ids(pushers) if pushers else []
    inputs = [event.artifact_id for event in read if event.type == mlmd.Event.INPUT]
    models = [a for a in store.get_artifacts_by_id(inputs) if a.type == "Model"] if inputs else []
    for model in models:
        if reason is not None:
            model.custom_properties[WITHDRAWN].string_value = reason
        else:
            model.custom_properties.pop(WITHDRAWN, None)
    if models:
        store.put_artifacts(models)


def _user() -> str:
    try:
        return getpass.getuser()
    except KeyError:  # a number without a name, as in a container
        return str(os.getuid())


def _pushed_models(store: metadata_store.MetadataStore) -> dict[int, mlmd.Artifact]:
    """Version -> the artifact of its first push."""
    found: dict[int, mlmd.Artifact] = {}
    for artifact in store.get_artifacts_by_type("PushedModel"):
        version = artifact.custom_properties["pushed_version"].string_value
        if version.isdigit():
            found.setdefault(int(version), artifact)
    return found


def _context(store: metadata_store.MetadataStore, kind: str, name: str) -> mlmd.Context:
    found = store.get_context_by_type_and_name(kind, name)
    if found is not None:
        return found
    try:
        type_id = store.get_context_type(kind).id
    except errors.NotFoundError:
        type_id = store.put_context_type(mlmd.ContextType(name=kind))
    context = mlmd.Context(type_id=type_id, name=name)
    (context.id,) = store.put_contexts([context])
    return context
