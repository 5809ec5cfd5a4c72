"""Records what became live and is not in ML Metadata yet: for want of a store, or of a process."""

from __future__ import annotations

import datetime as dt

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from components.errors import ComponentError
from components.pusher.intents import PUSH, Intent, drop, intents_of, locked
from components.pusher.versions_folder import VersionsFolder
from pipeline.config import PipelineConfig
from pipeline.metadata_record import Done, new_artifact, opened, pushed_models, put
from serving.release.record import record

_TFX_TIME = dt.timedelta(minutes=10)  # in which TFX itself records a push, after its step


def settle(config: PipelineConfig) -> list[Intent]:
    """Records, and returns, what others left unrecorded; oldest first.

    Raises:
      ComponentError: The store does not answer, or somebody is changing what is live for too long.
    """
    base = config.serving_folder
    if not intents_of(base):
        return []
    folder = VersionsFolder(base)
    with locked(folder):  # decides what a killed process began
        waiting = intents_of(base)
    if not waiting:
        return []
    with opened(config) as store:
        return [intent for intent in waiting if _settled(store, config, intent)]


def settle_if_possible(config: PipelineConfig) -> list[str]:
    """`settle` for those who have something else to do; returns lines for a person."""
    try:
        found = settle(config)
    except ComponentError as error:
        return [f"not everything that became live is recorded yet: {error}"]
    return [said_of(intent) for intent in found]


def said_of(intent: Intent) -> str:
    """A line for a person."""
    labels = ", ".join(f"{label} {version}" for label, version in intent.after.labels.items())
    kind = intent.kind.lower()
    return f"recorded afterwards: {intent.id}, a {kind} after which {labels} were live"


def _settled(store: metadata_store.MetadataStore, config: PipelineConfig, intent: Intent) -> bool:
    """Whether it was recorded just now; a push may have been long ago, or be about to be."""
    if intent.kind != PUSH:
        record(store, config.name, intent)
        drop(config.serving_folder, intent)
        return True
    version = int(intent.pushed["version"])
    if version in pushed_models(store):
        drop(config.serving_folder, intent)
        return False
    if dt.datetime.now(dt.timezone.utc) - _begun(intent) < _TFX_TIME:
        return False
    _record_push(store, config, intent)
    drop(config.serving_folder, intent)
    return True


def _begun(intent: Intent) -> dt.datetime:
    text = "-".join(intent.id.split("-")[:2])
    return dt.datetime.strptime(text, "%Y%m%d-%H%M%S").replace(tzinfo=dt.timezone.utc)


def _record_push(
    store: metadata_store.MetadataStore, config: PipelineConfig, intent: Intent
) -> None:
    """A push whose run died before TFX could record it: the same artifact, by an own execution."""
    version = intent.pushed["version"]
    path = config.serving_folder / version
    label = next((k for k, v in intent.after.labels.items() if str(v) == version), "")
    facts = {"pushed_version": version, "pushed_destination": str(path), "release": label}
    pushed = new_artifact(store, "PushedModel", path, {**facts, "pushed": 1})
    models = [
        artifact
        for artifact in store.get_artifacts_by_uri(_uri_of(intent))
        if artifact.state == mlmd.Artifact.LIVE
    ]
    done = Done(
        kind=f"serving.{PUSH}",
        properties={"user": intent.user, "pushed_version": version},
        inputs=[("model", model) for model in models[-1:]],
        outputs=[("pushed_model", pushed)],
        name=intent.id,
        run=intent.id,
    )
    put(store, config.name, done)


def _uri_of(intent: Intent) -> str:
    """Of the Model artifact: the Pusher is given its SavedModel's folder."""
    return intent.pushed["model"].removesuffix("/Format-Serving")
