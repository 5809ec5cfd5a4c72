"""Records what became live and is not in ML Metadata yet: for want of a store, or of a process."""

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
from metadata.reader import LineageStore
from metadata.writer import MetadataWriter, NewArtifact, Value
from pipeline.config import PipelineConfig
from serving.release.record import mark, models_pushed, record, writer_for

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
        writer = writer_for(config)
        return [one for one in waiting if _settled(writer, base, one, models)]


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


def _settled(writer: MetadataWriter, base: Path, intent: Intent, models: dict[int, str]) -> bool:
    """Returns whether it was recorded just now; a push may have been before, or be about to be."""
    if intent.kind != PUSH:
        record(writer, intent, models)
        drop(base, intent)
        return True
    is_known = _is_recorded_by_tfx(writer.reader, base, intent)
    if not is_known and dt.datetime.now(dt.timezone.utc) - begun(intent) < _TFX_TIME:
        return False
    if not is_known:
        _record_push(writer, base, intent, models)
    version = int(intent.pushed["version"])
    withdrawn = VersionsFolder(base).withdrawn(version)
    if withdrawn is not None:  # while nobody knew its artifact
        mark(writer, None, models[version], withdrawn)
    drop(base, intent)
    return not is_known


def _is_recorded_by_tfx(store: LineageStore, base: Path, intent: Intent) -> bool:
    """Returns whether there is a PushedModel of this push, not of another one or another folder."""
    return any(
        version_of(pushed) == intent.pushed["version"]
        and Path(destination_of(pushed)).parent == base
        for pushed in store.artifacts_of_type(names.PUSHED_MODEL, changed_since=begun(intent))
    )


def _record_push(
    writer: MetadataWriter, base: Path, intent: Intent, models: dict[int, str]
) -> None:
    """Records a push whose run died before TFX could: the same artifact, by an own execution."""
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
