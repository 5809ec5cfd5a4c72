"""A promotion or rollback as an execution in ML Metadata, so that lineage shows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from components.pusher.intents import Intent, drop, intents_of, recording
from metadata import names
from metadata.graph import made_from
from metadata.pushed_models import first_pushes
from metadata.records import Artifact
from metadata.writer import MetadataWriter, Value
from pipeline.config import PipelineConfig

_IN_MODEL = "/Format-Serving"


def writer_for(config: PipelineConfig) -> MetadataWriter:
    """Opens a pipeline's ML Metadata, which is made if it is missing.

    Raises:
      LineageError: It does not answer.
    """
    return MetadataWriter.connect(config.metadata_connection, config.name)


def record_in(config: PipelineConfig, switch: Intent) -> int:
    """`record` in the store of a pipeline; the intent has served its purpose then.

    Raises:
      LineageError: The store does not answer; `settle` will do it.
    """
    with recording(config.serving_folder):
        models = models_pushed(intents_of(config.serving_folder))
        execution = record(writer_for(config), switch, models)
        drop(config.serving_folder, switch)
    return execution


def models_pushed(waiting: Iterable[Intent]) -> dict[int, str]:
    """Returns version -> the model's URI, of pushes that are not recorded yet."""
    pushes = [intent.pushed for intent in waiting if intent.pushed]
    # The Pusher is given the SavedModel's folder within the artifact.
    return {int(one["version"]): one["model"].removesuffix(_IN_MODEL) for one in pushes}


def record(
    writer: MetadataWriter, switch: Intent, unrecorded: Mapping[int, str] | None = None
) -> int:
    """Writes it: a run of its own, with the models that it is about as its inputs; once.

    Within `intents.recording`: written late, marks would be set that a newer switch has taken back.

    Args:
      writer: Writes for the pipeline.
      switch: What was done.
      unrecorded: What `models_pushed` returned.

    Returns:
      The id of the execution.
    """
    kind = names.SERVING + switch.kind
    known = writer.reader.execution_named(kind, switch.id)
    if known is not None:
        return known
    properties: dict[str, Value] = {"user": switch.user}
    if switch.reason:
        properties["reason"] = switch.reason
    for when, release in ((names.BEFORE, switch.before), (names.AFTER, switch.after)):
        for label, version in release.labels.items() if release else ():
            properties[f"{label}{when}"] = version
    for version, reason in switch.withdrawn.items():
        properties[f"{names.WITHDRAWN_VERSION}{version}"] = reason
    pushed = first_pushes(writer.reader)
    uris = unrecorded or {}
    for version, reason in switch.withdrawn.items():
        mark(writer, pushed.get(version), uris.get(version), reason)
    back = switch.after.stable  # a person may have brought it back
    mark(writer, pushed.get(back), uris.get(back), None)
    # An execution has an artifact as its input once: a canary that goes leaves the same stable one.
    keys = dict.fromkeys(switch.withdrawn, "withdrawn")
    keys |= {switch.before.stable: "before"} if switch.before else {}
    keys |= {switch.after.stable: "after"}
    known_models = [(key, pushed[n].id) for n, key in keys.items() if n in pushed]
    return writer.record(kind, properties, known_models, name=switch.id, run_id=switch.id)


def execution_of(config: PipelineConfig, kind: str, switch_id: str) -> int | None:
    """Returns the id of the execution that recorded it, whoever did; None where it is not recorded.

    Raises:
      LineageError: The store does not answer.
    """
    return writer_for(config).reader.execution_named(names.SERVING + kind, switch_id)


def mark(
    writer: MetadataWriter, pushed: Artifact | None, uri: str | None, reason: str | None
) -> None:
    """Marks the model: no later training begins with one that was withdrawn
    (components/baseline_resolver).

    Args:
      writer: Writes for the pipeline.
      pushed: The version's PushedModel, by which its model is found.
      uri: The model's, where the push is not recorded yet.
      reason: Why it was withdrawn; None: it was not, or is not any more.
    """
    reader = writer.reader
    models = reader.artifacts_at(uri or "")
    if pushed is not None:
        models += reader.artifacts(made_from(reader, [pushed.id]).get(pushed.id, ())).values()
    ids = {model.id for model in models if model.type == names.MODEL}
    writer.change_artifacts(ids, {names.WITHDRAWN: reason})
