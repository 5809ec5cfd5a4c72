"""Records what became live and is not in ML Metadata yet: for want of a store, or of a process."""

from __future__ import annotations

import contextlib
import datetime as dt
from pathlib import Path

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from base.errors import ComponentError
from base.locks import LockHeldError
from components.pusher.intents import PUSH, Intent, begun, drop, intents_of, locked, recording
from components.pusher.versions_folder import VersionsFolder
from metadata.writer import Done, new_artifact, opened, put
from pipeline.config import PipelineConfig
from serving.release.record import mark, models_pushed, record

_TFX_TIME = dt.timedelta(minutes=30)  # in which TFX itself records a push, after its step


def settle(config: PipelineConfig) -> list[Intent]:
    """Records, and returns, what others left unrecorded; oldest first.

    While somebody changes what is live, what was done before is recorded all the same.

    Raises:
      ComponentError: The store does not answer.
    """
    base = config.serving_folder
    if not intents_of(base):
        return []
    with contextlib.suppress(LockHeldError), locked(VersionsFolder(base), wait=False):
        pass  # what a killed process began is decided
    with recording(base):
        waiting = [intent for intent in intents_of(base) if intent.is_done]
        if not waiting:
            return []
        models = models_pushed(waiting)
        with opened(config) as store:
            return [one for one in waiting if _settled(store, config, one, models)]


def settle_if_possible(config: PipelineConfig) -> list[str]:
    """`settle` for those who have something else to do; returns lines for a person."""
    try:
        found = settle(config)
    except (ComponentError, OSError) as error:
        return [f"not everything that became live is recorded yet: {error}"]
    return [said_of(intent) for intent in found]


def said_of(intent: Intent) -> str:
    """A line for a person."""
    labels = ", ".join(f"{label} {version}" for label, version in intent.after.labels.items())
    kind = intent.kind.lower()
    return f"recorded afterwards: {intent.id}, a {kind} after which {labels} were live"


def _settled(
    store: metadata_store.MetadataStore,
    config: PipelineConfig,
    intent: Intent,
    models: dict[int, str],
) -> bool:
    """Whether it was recorded just now; a push may have been long ago, or be about to be."""
    base = config.serving_folder
    if intent.kind != PUSH:
        record(store, config.name, intent, models)
        drop(base, intent)
        return True
    is_known = _is_recorded_by_tfx(store, base, intent)
    if not is_known and dt.datetime.now(dt.timezone.utc) - begun(intent) < _TFX_TIME:
        return False
    if not is_known:
        _record_push(store, config, intent, models)
    version = int(intent.pushed["version"])
    withdrawn = VersionsFolder(base).withdrawn(version)
    if withdrawn is not None:  # while nobody knew its artifact
        mark(store, None, models[version], withdrawn)
    drop(base, intent)
    return not is_known


def _is_recorded_by_tfx(store: metadata_store.MetadataStore, base: Path, intent: Intent) -> bool:
    """Whether there is a PushedModel of this push, not of an earlier one or another folder."""
    since = begun(intent).timestamp() * 1000
    return any(
        artifact.custom_properties["pushed_version"].string_value == intent.pushed["version"]
        and Path(artifact.custom_properties["pushed_destination"].string_value).parent == base
        and artifact.last_update_time_since_epoch >= since
        for artifact in store.get_artifacts_by_type("PushedModel")
    )


def _record_push(
    store: metadata_store.MetadataStore,
    config: PipelineConfig,
    intent: Intent,
    models: dict[int, str],
) -> None:
    """A push whose run died before TFX could record it: the same artifact, by an own execution."""
    version = intent.pushed["version"]
    path = config.serving_folder / version
    label = next((k for k, v in intent.after.labels.items() if str(v) == version), "")
    facts = {"pushed_version": version, "pushed_destination": str(path), "release": label}
    pushed = new_artifact(store, "PushedModel", path, {**facts, "pushed": 1})
    found = store.get_artifacts_by_uri(models[int(version)])
    live = [artifact for artifact in found if artifact.state == mlmd.Artifact.LIVE]
    done = Done(
        kind=f"serving.{PUSH}",
        properties={"user": intent.user, "pushed_version": version},
        inputs=[("model", model) for model in live[-1:]],
        outputs=[("pushed_model", pushed)],
        name=intent.id,
        run=intent.id,
    )
    put(store, config.name, done)
