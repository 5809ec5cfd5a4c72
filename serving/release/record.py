"""A promotion or rollback as an execution in ML Metadata, so that lineage shows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from components.pusher.intents import Intent, drop, intents_of, recording
from metadata.ancestry import WITHDRAWN
from metadata.writer import Done, Value, opened, pushed_models, put
from pipeline.config import PipelineConfig

_IN_MODEL = "/Format-Serving"


def record_in(config: PipelineConfig, switch: Intent) -> int:
    """`record` in the store of a pipeline; the intent has served its purpose then.

    Raises:
      ComponentError: it does not answer; `settle` will do it.
    """
    with recording(config.serving_folder), opened(config) as store:
        models = models_pushed(intents_of(config.serving_folder))
        execution = record(store, config.name, switch, models)
        drop(config.serving_folder, switch)
    return execution


def models_pushed(waiting: Iterable[Intent]) -> dict[int, str]:
    """Version -> the model's URI, of pushes that are not recorded yet."""
    pushes = [intent.pushed for intent in waiting if intent.pushed]
    # The Pusher is given the SavedModel's folder within the artifact.
    return {int(one["version"]): one["model"].removesuffix(_IN_MODEL) for one in pushes}


def record(
    store: metadata_store.MetadataStore,
    pipeline: str,
    switch: Intent,
    unrecorded: Mapping[int, str] | None = None,
) -> int:
    """Writes it: a run of its own, with the models that it is about as its inputs; once.

    Within `intents.recording`: written late, marks would be set that a newer switch has taken back.

    Args:
      store: of the pipeline.
      pipeline: its name.
      switch: what was done.
      unrecorded: of `models_pushed`.

    Returns:
      The id of the execution.
    """
    known = store.get_execution_by_type_and_name(f"serving.{switch.kind}", switch.id)
    if known is not None:
        return int(known.id)
    properties: dict[str, Value] = {"user": switch.user}
    if switch.reason:
        properties["reason"] = switch.reason
    for when, release in (("before", switch.before), ("after", switch.after)):
        for label, version in release.labels.items() if release else ():
            properties[f"{label}_{when}"] = version
    for version, reason in switch.withdrawn.items():
        properties[f"withdrawn_{version}"] = reason
    pushed = pushed_models(store)
    uris = unrecorded or {}
    for version, reason in switch.withdrawn.items():
        mark(store, pushed.get(version), uris.get(version), reason)
    back = switch.after.stable  # a person may have brought it back
    mark(store, pushed.get(back), uris.get(back), None)
    # An execution has an artifact as its input once: a canary that goes leaves the same stable one.
    keys = dict.fromkeys(switch.withdrawn, "withdrawn")
    keys |= {switch.before.stable: "before"} if switch.before else {}
    keys |= {switch.after.stable: "after"}
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


def mark(
    store: metadata_store.MetadataStore,
    pushed: mlmd.Artifact | None,
    uri: str | None,
    reason: str | None,
) -> None:
    """On the model: no later training begins with one that was withdrawn
    (components/baseline_resolver).

    Args:
      store: of the pipeline.
      pushed: of the version, by which its model is found.
      uri: of the model, where the push is not recorded yet.
      reason: None: it was not withdrawn, or is not any more.
    """
    models = store.get_artifacts_by_uri(uri) if uri else []
    if pushed is not None:
        made = store.get_events_by_artifact_ids([pushed.id])
        pushers = [event.execution_id for event in made if event.type == mlmd.Event.OUTPUT]
        read = store.get_events_by_execution_ids(pushers) if pushers else []
        inputs = [event.artifact_id for event in read if event.type == mlmd.Event.INPUT]
        models += store.get_artifacts_by_id(inputs) if inputs else []
    models = [*{model.id: model for model in models if model.type == "Model"}.values()]
    for model in models:
        if reason is not None:
            model.custom_properties[WITHDRAWN].string_value = reason
        else:
            model.custom_properties.pop(WITHDRAWN, None)
    if models:
        store.put_artifacts(models)
