"""A promotion or rollback as an execution in ML Metadata, so that lineage shows it."""

from __future__ import annotations

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from components.ancestry import WITHDRAWN
from components.pusher.intents import Intent, drop
from pipeline.config import PipelineConfig
from pipeline.metadata_record import Done, Value, opened, pushed_models, put


def record_in(config: PipelineConfig, switch: Intent) -> int:
    """`record` in the store of a pipeline; the intent has served its purpose then.

    Raises:
      ComponentError: it does not answer; `settle` will do it.
    """
    with opened(config) as store:
        execution = record(store, config.name, switch)
    drop(config.serving_folder, switch)
    return execution


def record(store: metadata_store.MetadataStore, pipeline: str, switch: Intent) -> int:
    """Writes it: a run of its own, with the models that it is about as its inputs; once.

    Args:
      store: of the pipeline.
      pipeline: its name.
      switch: what was done.

    Returns:
      The id of the execution.
    """
    assert switch.before is not None
    properties: dict[str, Value] = {"user": switch.user}
    for when, release in (("before", switch.before), ("after", switch.after)):
        for label, version in release.labels.items():
            properties[f"{label}_{when}"] = version
    for version, reason in switch.withdrawn.items():
        properties[f"withdrawn_{version}"] = reason
    pushed = pushed_models(store)
    for version, reason in switch.withdrawn.items():
        _mark(store, pushed.get(version), reason)
    _mark(store, pushed.get(switch.after.stable), None)  # a person may have brought it back
    # An execution has an artifact as its input once: a canary that goes leaves the same stable one.
    keys = dict.fromkeys(switch.withdrawn, "withdrawn")
    keys |= {switch.before.stable: "before"} | {switch.after.stable: "after"}
    done = Done(
        kind=f"serving.{switch.kind}",
        properties=properties,
        inputs=[(key, pushed[version]) for version, key in keys.items() if version in pushed],
        name=switch.id,
        run=switch.id,
    )
    return put(store, pipeline, done)


def execution_of(config: PipelineConfig, kind: str, switch_id: str) -> int | None:
    """The id of the execution that recorded it, whoever did; None where it is not recorded.

    Raises:
      ComponentError: the store does not answer.
    """
    with opened(config) as store:
        found = store.get_execution_by_type_and_name(f"serving.{kind}", switch_id)
    return None if found is None else int(found.id)


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
