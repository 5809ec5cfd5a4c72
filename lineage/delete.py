"""Deletes unused artifacts and marks them in ML Metadata; the only writer in this package.

An artifact is marked for deletion, its folder is deleted, and the artifact is marked as deleted.
After a kill the next call finds the marks and finishes. TFX's cache skips artifacts without a
folder, and resolvers pick only live ones. The manifest of examples stays in `.manifests/` beside
their folder: it connects a served model with its source files.
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
from metadata.reader import MetadataError, MetadataReader
from metadata.records import Artifact
from metadata.writer import MetadataWriter

_PAUSE = dt.timedelta(minutes=10)  # longest pause between two steps of a run
_MARKED: Final = "marked_for_deletion"


def delete_unused(
    connection: Connection,
    keep_runs: int,
    progress: Callable[[StoredArtifact], None] | None = None,
    ended: Collection[str] = (),
) -> UnusedArtifacts:
    """Deletes the artifacts that are unused now, and returns them.

    Args:
      connection: Connection to the store, which is opened for writing.
      keep_runs: Number of newest complete runs per pipeline whose artifacts are kept.
      progress: Function that is called with each artifact after its folder is deleted.
      ended: Ids of runs that look as if they were running, but whose process was killed.

    Raises:
      MetadataError: A run is in progress, or the store or a folder cannot be changed.
    """
    with _no_run(connection):
        store = MetadataReader.connect(connection)
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
    """Keeps local runs from starting; only a SQLite store has such a lock."""
    if connection.kind != "sqlite":
        yield
        return
    path = connection.path.parent / RUN_LOCK
    try:
        lock = acquire(path)
    except LockHeldError:
        raise MetadataError(
            f"a run with {connection.path} is in progress; "
            "delete when it has ended: nothing was deleted"
        ) from None
    except OSError as error:
        raise MetadataError(f"cannot write to {path.parent}: {error.strerror or error}") from error
    with lock:
        yield


def _refuse_if_running(store: MetadataReader, ended: Collection[str], *, locked: bool) -> None:
    """Raises MetadataError if a run is in progress.

    A database has no lock, so there a run that has just changed may be between two steps.
    """
    now = dt.datetime.now(dt.timezone.utc)
    for run in recent_runs(store):
        if run.run_id in ended:
            continue
        quiet = now - run.started - dt.timedelta(seconds=run.seconds)
        if still_runs(run):
            raise MetadataError(
                f"run {run.run_id} of {store.name} is in progress: nothing was deleted; delete "
                f"when it has ended, or if its process was killed: --ended {run.run_id}"
            )
        if not locked and quiet < _PAUSE:
            raise MetadataError(
                f"run {run.run_id} of {store.name} may be between two steps: nothing was deleted; "
                f"delete in {_PAUSE.seconds // 60} minutes, or if it has ended: "
                f"--ended {run.run_id}"
            )


def _was_removed(artifact: Artifact) -> bool:
    """Returns whether an earlier call deleted the folder, but was killed before it said so."""
    path = local_path(artifact.uri)
    marked = artifact.state == _MARKED
    return marked and path is not None and path.is_absolute() and not path.exists()


def _remove(folder: Path) -> None:
    """Deletes a folder after its manifest was copied to its new place."""
    manifest = folder / EXAMPLES_MANIFEST
    try:
        if manifest.is_file():
            with whole_file(kept_manifest(folder), durable=True) as partial:
                shutil.copyfile(manifest, partial)
        shutil.rmtree(folder)
    except OSError as error:
        raise MetadataError(
            f"cannot delete {folder}: {error.strerror or error}; fix it, then delete again: "
            "what was deleted before stays so"
        ) from error
