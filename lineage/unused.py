"""What no run and no served model needs any more: `unused(store)`; delete.py deletes it.

Kept are

- what the newest runs, and those that still run, made, read or took from the cache;
- every pushed version whose folder is still there, since it is served or may be gone back to, with
  its model, transform graph, schema, evaluation and blessing;
- the newest blessed model, which the next one is compared with;
- what lies anywhere but where TFX puts a component's output: it may belong to somebody else.

Examples of a served model are not kept for it: lineage remembers their spans, rows and checksums.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from lineage.dataset import local_path
from lineage.records import Artifact, Execution, Run
from lineage.store import LineageStore
from lineage.trace import destination_of, version_of
from lineage.walk import BASELINE_KEY, edges_of_artifacts, makers

KEEP_RUNS = 3
_LONGEST_RUN = dt.timedelta(days=2)
_JUDGED = frozenset({"ModelBlessing", "InfraBlessing", "ModelEvaluation"})
_WITH_A_MODEL = _JUDGED | {"Model"}
_GONE = frozenset({"deleted", "abandoned", "reference"})


@dataclasses.dataclass(frozen=True)
class Stored:
    """An artifact's folder on this machine.

    Attributes:
      artifact: it.
      component: that made it.
      run_id: of the run that made it.
      path: its folder.
      bytes: of all files in it.
      reason: why it is kept; '' if it is not.
    """

    artifact: Artifact
    component: str
    run_id: str
    path: Path
    bytes: int
    reason: str


@dataclasses.dataclass(frozen=True)
class Garbage:
    """What could be deleted, and what could not, oldest first; with the rule that was followed.

    Attributes:
      unused, kept: artifacts with a folder here.
      elsewhere: artifacts whose folder is not on this machine, or not where TFX puts outputs.
      keep_runs: so many of the newest runs keep what they touched.
    """

    unused: tuple[Stored, ...]
    kept: tuple[Stored, ...]
    elsewhere: int
    keep_runs: int

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in self.unused)


def unused(store: LineageStore, keep_runs: int = KEEP_RUNS) -> Garbage:
    """Looks at every artifact that is still on this machine.

    Args:
      store: where to look.
      keep_runs: of each pipeline, so many of the newest runs keep what they touched; 1 at least.

    Raises:
      LineageError: the store cannot be read.
    """
    artifacts = [a for a in store.all_artifacts() if a.state not in _GONE]
    made = {edge.artifact_id: edge for edge in makers(store, [a.id for a in artifacts])}
    executions = store.executions({edge.execution_id for edge in made.values()})
    reasons = _reasons(store, keep_runs)
    found: list[Stored] = []
    for artifact in artifacts:
        edge = made.get(artifact.id)
        maker = executions.get(edge.execution_id) if edge else None
        path = _own_folder(artifact, edge.key, maker) if edge and maker else None
        if path is not None and maker is not None:
            reason = reasons.get(artifact.id, "")
            size = _size(path)
            found.append(Stored(artifact, maker.component, maker.run_id, path, size, reason))
    return Garbage(
        unused=tuple(one for one in found if not one.reason),
        kept=tuple(one for one in found if one.reason),
        elsewhere=len(artifacts) - len(found),
        keep_runs=keep_runs,
    )


def _reasons(store: LineageStore, keep_runs: int) -> dict[int, str]:
    """Artifact id -> why it is kept; the strongest reason."""
    reasons: dict[int, str] = {}

    def keep(artifact_ids: Iterable[int], reason: str) -> None:
        for artifact_id in artifact_ids:
            reasons.setdefault(artifact_id, reason)

    for pushed in filter(_is_there, store.artifacts_of_type("PushedModel")):
        keep(_around(store, [pushed.id]), f"version {version_of(pushed)} is served, or can be")
    blessed = [a for a in store.artifacts_of_type("ModelBlessing") if a.properties.get("blessed")]
    keep(_around(store, [artifact.id for artifact in blessed[:1]]), "the newest blessed model")
    left = dict.fromkeys(store.pipelines(), max(keep_runs, 1))
    since = dt.datetime.now(dt.timezone.utc) - _LONGEST_RUN
    for run in store.runs_until():
        if run.started < since and not any(left.values()):
            break
        if not any(execution.outputs for execution in run.components):
            continue  # a rollout, recorded as a run of its own
        runs = still_runs(run)
        if runs or left.get(run.pipeline):
            keep(_touched(run.components), f"run {run.run_id}" + (" still runs" if runs else ""))
        left[run.pipeline] = max(left.get(run.pipeline, 0) - 1, 0)
    return reasons


def still_runs(run: Run) -> bool:
    """One that started days ago and has no end died without a word."""
    since = dt.datetime.now(dt.timezone.utc) - _LONGEST_RUN
    return run.state == "running" and run.started >= since


def _touched(executions: Iterable[Execution]) -> set[int]:
    return {
        artifact_id
        for execution in executions
        for side in (execution.inputs, execution.outputs, execution.resolved)
        for ids in side.values()
        for artifact_id in ids
    }


def _is_there(pushed: Artifact) -> bool:
    """Pushed at all, and not removed since; somebody may serve what is not on this machine."""
    if pushed.properties.get("pushed") == 0 or not destination_of(pushed):
        return False
    path = local_path(destination_of(pushed))
    return path is None or path.is_dir()


def _around(store: LineageStore, artifact_ids: Collection[int]) -> set[int]:
    """The models that these are about, and what a server or a later run reads with them.

    Not what a warm start began with: the model has its weights.
    """
    beside = set(artifact_ids) | _inputs(store, artifact_ids, _WITH_A_MODEL)
    models = {a.id for a in store.artifacts(beside).values() if a.type == "Model"}
    beside |= _inputs(store, models, {"TransformGraph", "Schema"})
    readers = {e.execution_id for e in edges_of_artifacts(store, models) if e.kind == "input"}
    judged = [i for e in store.executions(readers).values() for i in _outputs(e)]
    return beside | {a.id for a in store.artifacts(judged).values() if a.type in _JUDGED}


def _inputs(store: LineageStore, made: Collection[int], types: Collection[str]) -> set[int]:
    """Of these types, what the makers read."""
    executions = store.executions(edge.execution_id for edge in makers(store, made)) if made else {}
    read = [
        i
        for execution in executions.values()
        for key, ids in execution.inputs.items()
        if key != BASELINE_KEY
        for i in ids
    ]
    return {a.id for a in store.artifacts(read).values() if a.type in types}


def _outputs(execution: Execution) -> Iterator[int]:
    for ids in execution.outputs.values():
        yield from ids


def _own_folder(artifact: Artifact, key: str, maker: Execution) -> Path | None:
    """ROOT/COMPONENT/KEY/EXECUTION, as TFX names it, if it is still there."""
    path = local_path(artifact.uri)
    if path is None or path.parts[-3:] != (maker.component, key, str(maker.id)):
        return None
    return path if path.is_dir() and not path.is_symlink() else None


def _size(folder: Path) -> int:
    return sum(
        entry.stat(follow_symlinks=False).st_size
        for entry in _walk(folder)
        if not entry.is_dir(follow_symlinks=False)
    )


def _walk(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path))
