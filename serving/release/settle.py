"""Records releases that are not in ML Metadata yet, after a crash or while the store was down."""

from __future__ import annotations

import contextlib
import datetime as dt
from pathlib import Path

from base.errors import ComponentError
from base.locks import LockHeldError
from components.pusher.intents import PUSH, Intent, begun, drop, intents_of, locked, recording
from components.pusher.versions_folder import VersionsFolder
from metadata import names
from metadata.pushed_models import destination_of, version_of
from metadata.reader import MetadataReader
from metadata.writer import MetadataWriter, NewArtifact, Value
from pipeline.config import PipelineConfig
from serving.release.record import record, set_withdrawn, unrecorded_model_uris, writer_for

TFX_RECORDING_TIME = dt.timedelta(minutes=30)  # within which TFX itself records a push


def settle(config: PipelineConfig) -> list[Intent]:
    """Records all unrecorded intents, and returns those that were recorded, oldest first.

    If another process is making a release, the earlier releases are recorded nevertheless.

    Raises:
      ComponentError: The store does not answer.
    """
    base = config.serving_folder
    if not intents_of(base):
        return []
    with contextlib.suppress(LockHeldError), locked(VersionsFolder(base), wait=False):
        pass  # taking the lock decides what a killed process began
    with recording(base):
        waiting = [intent for intent in intents_of(base) if intent.is_done]
        if not waiting:
            return []
        models = unrecorded_model_uris(waiting)
        writer = writer_for(config)
        return [one for one in waiting if _settled(writer, base, one, models)]


def settle_if_possible(config: PipelineConfig) -> list[str]:
    """Calls `settle` and returns messages for the user, including its errors."""
    try:
        found = settle(config)
    except (ComponentError, OSError) as error:
        return [f"some releases are not recorded yet: {error}"]
    return [describe(intent) for intent in found]


def describe(intent: Intent) -> str:
    """Returns a message for the user about a recorded intent."""
    labels = ", ".join(f"{label} {version}" for label, version in intent.after.labels.items())
    kind = intent.kind.lower()
    return f"recorded afterwards: {intent.id}, a {kind} after which {labels} were live"


def _settled(writer: MetadataWriter, base: Path, intent: Intent, models: dict[int, str]) -> bool:
    """Records an intent if TFX has not and will not. Returns whether it was recorded now."""
    if intent.kind != PUSH:
        record(writer, intent, models)
        drop(base, intent)
        return True
    is_known = _is_recorded_by_tfx(writer.reader, base, intent)
    if not is_known and dt.datetime.now(dt.timezone.utc) - begun(intent) < TFX_RECORDING_TIME:
        return False
    if not is_known:
        _record_push(writer, base, intent, models)
    version = int(intent.pushed["version"])
    withdrawn = VersionsFolder(base).withdrawn(version)
    if withdrawn is not None:  # it was withdrawn before its push was recorded
        set_withdrawn(writer, None, models[version], withdrawn)
    drop(base, intent)
    return not is_known


def _is_recorded_by_tfx(store: MetadataReader, base: Path, intent: Intent) -> bool:
    """Returns whether there is a PushedModel of this push."""
    return any(
        version_of(pushed) == intent.pushed["version"]
        and Path(destination_of(pushed)).parent == base
        for pushed in store.artifacts_of_type(names.PUSHED_MODEL, changed_since=begun(intent))
    )


def _record_push(
    writer: MetadataWriter, base: Path, intent: Intent, models: dict[int, str]
) -> None:
    """Records a push whose run died before TFX could, with the same artifact as TFX."""
    version = intent.pushed["version"]
    path = base / version
    properties: dict[str, Value] = {
        names.PUSHED: 1,
        names.PUSHED_VERSION: version,
        names.PUSHED_DESTINATION: str(path),
        names.RELEASE: next((k for k, v in intent.after.labels.items() if str(v) == version), ""),
    }
    pushed = NewArtifact(names.PUSHED_MODEL, str(path.resolve()), properties)
    found = writer.reader.artifacts_at(models[int(version)])
    live = [artifact.id for artifact in found if artifact.state == "live"]
    writer.record(
        names.PUSH,
        {"user": intent.user, names.PUSHED_VERSION: version},
        inputs=[("model", model) for model in live[-1:]],
        outputs=[("pushed_model", pushed)],
        name=intent.id,
        run_id=intent.id,
    )
