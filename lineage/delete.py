"""Deletes what `unused.py` found, and says so in ML Metadata; the only writer in this package.

An artifact is marked for deletion, then its folder goes, then it is marked as deleted: after a kill
the next call finds what is marked, and finishes. TFX takes nothing from its cache whose folder is
gone, and no resolver picks what is not live. The manifest of examples stays, in `.manifests/`
beside their folder: it is what connects a served model with its source files.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final

from base.atomic_files import whole_file
from base.locks import LockHeldError, acquire
from base.shared_names import EXAMPLES_MANIFEST, RUN_LOCK
from lineage.dataset import kept_manifest
from lineage.unused import (
    StoredArtifact,
    UnusedArtifacts,
    own_artifacts,
    recent_runs,
    still_runs,
    unused,
)
from metadata.artifact_files import local_path
from metadata.connection import Connection
from metadata.reader import LineageError, LineageStore
from metadata.records import Artifact
from metadata.writer import MetadataWriter

_PAUSE = dt.timedelta(minutes=10)  # the longest between two steps of a run
_MARKED: Final = "marked_for_deletion"


def delete_unused(
    connection: Connection,
    keep_runs: int,
    progress: Callable[[StoredArtifact], None] | None = None,
    ended: Collection[str] = (),
) -> UnusedArtifacts:
    """Deletes what is unused now; returns what that was.

    Args:
      connection: The store; it is opened for writing.
      keep_runs: as for `unused`.
      progress: is told of each artifact when its folder is gone.
      ended: ids of runs that look as if they ran, and do not: their process was killed.

    Raises:
      LineageError: a run is in progress, the store cannot be written, or a folder not deleted.
    """
    with _no_run(connection):
        store = LineageStore.connect(connection)
        _refuse_if_running(store, ended, locked=connection.kind == "sqlite")
        unused_now = unused(store, keep_runs)
        writer = MetadataWriter.connect(connection, create=False)
        writer.change_artifacts([one.artifact.id for one in unused_now.unused], state=_MARKED)
        done = [a.id for a in own_artifacts(store, store.all_artifacts()) if _was_removed(a)]
        try:
            for one in unused_now.unused:
                _remove(one.path)
                done.append(one.artifact.id)
                if progress:
                    progress(one)
        finally:
            writer.change_artifacts(done, state="deleted")
    return unused_now


@contextlib.contextmanager
def _no_run(connection: Connection) -> Iterator[None]:
    """Keeps local runs from starting; a store that is no file has no such lock."""
    if connection.kind != "sqlite":
        yield
        return
    path = connection.path.parent / RUN_LOCK
    try:
        lock = acquire(path)
    except LockHeldError:
        raise LineageError(
            f"a run with {connection.path} is in progress; "
            "delete when it has ended: nothing was deleted"
        ) from None
    except OSError as error:
        raise LineageError(f"cannot write to {path.parent}: {error.strerror or error}") from error
    with lock:
        yield


def _refuse_if_running(store: LineageStore, ended: Collection[str], *, locked: bool) -> None:
    """A database has no lock: there a run that changed a moment ago may be between two steps."""
    now = dt.datetime.now(dt.timezone.utc)
    for run in recent_runs(store):
        if run.run_id in ended:
            continue
        quiet = now - run.started - dt.timedelta(seconds=run.seconds)
        if still_runs(run):
            raise LineageError(
                f"run {run.run_id} of {store.name} is in progress: nothing was deleted; delete "
                f"when it has ended, or if its process was killed: --ended {run.run_id}"
            )
        if not locked and quiet < _PAUSE:
            raise LineageError(
                f"run {run.run_id} of {store.name} may be between two steps: nothing was deleted; "
                f"delete in {_PAUSE.seconds // 60} minutes, or if it has ended: "
                f"--ended {run.run_id}"
            )


def _was_removed(artifact: Artifact) -> bool:
    """By a call that was killed before it could say so."""
    path = local_path(artifact.uri)
    marked = artifact.state == _MARKED
    return marked and path is not None and path.is_absolute() and not path.exists()


def _remove(folder: Path) -> None:
    """The manifest is in its new place before the folder goes."""
    manifest = folder / EXAMPLES_MANIFEST
    try:
        if manifest.is_file():
            with whole_file(kept_manifest(folder), durable=True) as partial:
                shutil.copyfile(manifest, partial)
        shutil.rmtree(folder)
    except OSError as error:
        raise LineageError(
            f"cannot delete {folder}: {error.strerror or error}; fix it, then delete again: "
            "what was deleted before stays so"
        ) from error
