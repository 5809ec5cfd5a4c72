"""Records promotions and rollbacks as executions in ML Metadata, so that lineage shows them."""

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
    """Opens the ML Metadata store of a pipeline, and creates it if it is missing.

    Raises:
      MetadataError: The store does not answer.
    """
    return MetadataWriter.connect(config.metadata_connection, config.name)


def record_in(config: PipelineConfig, switch: Intent) -> int:
    """Records a switch in the store of a pipeline, and removes its intent.

    Raises:
      MetadataError: The store does not answer. `settle` will record the switch later.
    """
    with recording(config.serving_folder):
        models = unrecorded_model_uris(intents_of(config.serving_folder))
        execution = record(writer_for(config), switch, models)
        drop(config.serving_folder, switch)
    return execution


def unrecorded_model_uris(waiting: Iterable[Intent]) -> dict[int, str]:
    """Returns the URI of the model of each version whose push is not recorded yet."""
    pushes = [intent.pushed for intent in waiting if intent.pushed]
    # The Pusher gets the folder of the SavedModel within the artifact.
    return {int(one["version"]): one["model"].removesuffix(_IN_MODEL) for one in pushes}


def record(
    writer: MetadataWriter, switch: Intent, unrecorded: Mapping[int, str] | None = None
) -> int:
    """Records a switch as a run of its own, with its models as inputs. Records it only once.

    Call it within `intents.recording`, so that it does not set marks that a newer switch removed.

    Args:
      writer: Writer of the pipeline.
      switch: Switch that was done.
      unrecorded: Result of `unrecorded_model_uris`.

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
        set_withdrawn(writer, pushed.get(version), uris.get(version), reason)
    stable = switch.after.stable  # may have been withdrawn before
    set_withdrawn(writer, pushed.get(stable), uris.get(stable), None)
    # An artifact can be an input only once, and stable may be the same before and after.
    keys = dict.fromkeys(switch.withdrawn, "withdrawn")
    keys |= {switch.before.stable: "before"} if switch.before else {}
    keys |= {switch.after.stable: "after"}
    known_models = [(key, pushed[n].id) for n, key in keys.items() if n in pushed]
    return writer.record(kind, properties, known_models, name=switch.id, run_id=switch.id)


def execution_of(config: PipelineConfig, kind: str, switch_id: str) -> int | None:
    """Returns the id of the execution that recorded a switch; None if it is not recorded.

    Raises:
      MetadataError: The store does not answer.
    """
    return writer_for(config).reader.execution_named(names.SERVING + kind, switch_id)


def set_withdrawn(
    writer: MetadataWriter, pushed: Artifact | None, uri: str | None, reason: str | None
) -> None:
    """Marks a model as withdrawn, so that no training starts from it, or removes the mark.

    components/baseline_resolver reads the mark.

    Args:
      writer: Writer of the pipeline.
      pushed: PushedModel of the version.
      uri: URI of the model, if the push is not recorded yet.
      reason: Why it was withdrawn; None to remove the mark.
    """
    reader = writer.reader
    models = reader.artifacts_at(uri or "")
    if pushed is not None:
        models += reader.artifacts(made_from(reader, [pushed.id]).get(pushed.id, ())).values()
    ids = {model.id for model in models if model.type == names.MODEL}
    writer.change_artifacts(ids, {names.WITHDRAWN: reason})
