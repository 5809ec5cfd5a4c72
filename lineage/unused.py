"""Finds artifacts that no run and no served model needs any more; delete.py deletes them.

These artifacts of a pipeline are kept:

- everything that its newest complete runs, all later runs and all running runs made, read, picked
  or took from the cache;
- examples whose span is not older than the oldest of these, with their statistics: a window that
  moves by several spans at once will read them;
- every pushed version whose folder still exists, with its model, transform graph, schema,
  evaluation and blessing: it is served, or a rollback may return to it;
- blessed models that are not older than the oldest of these: after a rollback, a run starts from
  one of them and is compared with it;
- artifacts outside the folders in which TFX puts outputs: they may belong to somebody else;
- outputs of a type that this project does not know: their readers are unknown;
- a folder that a kept artifact also names, as an Importer's artifact does.

Pipelines without SparkExampleGen are skipped: which artifacts they still need is unknown.

Examples are not kept for a served model: lineage keeps their spans, row counts and checksums.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from lineage.dataset import is_ours
from lineage.surroundings import Surroundings
from metadata import names
from metadata.artifact_files import is_folder, local_path
from metadata.graph import products
from metadata.pushed_models import destination_of, pushed_models, version_of
from metadata.reader import MetadataError, MetadataReader
from metadata.records import Artifact, Execution, Run

KEEP_RUNS = 3
_LONGEST_RUN = dt.timedelta(days=2)
_REMOVED = frozenset({"deleted", "abandoned"})
_GONE = _REMOVED | {"reference"}
# Outputs of TFX's and this project's components, whose readers are known.
_KNOWN_TYPES = frozenset(
    {
        names.DECISION,
        names.EXAMPLE_ANOMALIES,
        names.EXAMPLES,
        names.EXAMPLE_STATISTICS,
        names.HYPER_PARAMETERS,
        names.INFRA_BLESSING,
        names.MODEL,
        names.MODEL_BLESSING,
        names.MODEL_EVALUATION,
        names.MODEL_RUN,
        names.ONLINE_METRICS,
        names.PUSHED_MODEL,
        names.QUARANTINED_RECORDS,
        names.SCHEMA,
        names.TOKEN_EMBEDDINGS,
        names.TRANSFORM_CACHE,
        names.TRANSFORM_GRAPH,
        names.TREE_COMPARISON,
        names.TUNER_RESULTS,
    }
)
_MAY_RUN = frozenset({"running", "unknown"})


@dataclasses.dataclass(frozen=True)
class StoredArtifact:
    """An artifact and its folder on this machine.

    Attributes:
      artifact: The artifact.
      component: Component that made it.
      run_id: Id of the run that made it.
      path: Its folder.
      bytes: Size of all files in the folder.
      reason: Why it is kept; '' if it is unused.
    """

    artifact: Artifact
    component: str
    run_id: str
    path: Path
    bytes: int
    reason: str


@dataclasses.dataclass(frozen=True)
class UnusedArtifacts:
    """The artifacts that could be deleted and those that are kept, oldest first.

    Attributes:
      unused, kept: Artifacts with a folder on this machine.
      elsewhere: Number of artifacts whose folder is missing here, or not where TFX puts outputs.
      keep_runs: Number of newest runs per pipeline whose artifacts are kept.
      foreign: Number of artifacts of pipelines that are not this project's, or of no pipeline.
    """

    unused: tuple[StoredArtifact, ...]
    kept: tuple[StoredArtifact, ...]
    elsewhere: int
    keep_runs: int
    foreign: int = 0

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in self.unused)


def unused(store: MetadataReader, keep_runs: int = KEEP_RUNS) -> UnusedArtifacts:
    """Sorts the artifacts on this machine into unused and kept ones.

    Args:
      store: Store to read.
      keep_runs: Number of newest complete runs per pipeline whose artifacts are kept; at least 1.

    Raises:
      MetadataError: The store or an artifact's folder cannot be read.
    """
    everything = store.all_artifacts()
    artifacts = [a for a in everything if a.state not in _GONE]
    around = Surroundings(store, everything)
    reasons = _KeepReasons(store, artifacts, around, keep_runs).found
    ours = [a for a in _of_own_pipelines(everything, around) if a.state not in _GONE]
    found: list[StoredArtifact] = []
    for artifact in ours:
        maker = around.maker.get(artifact.id)
        path = _own_folder(artifact, around.key[artifact.id], maker) if maker else None
        if path is not None and maker is not None:
            reason = reasons.get(artifact.id, "")
            size = _size(path)
            found.append(
                StoredArtifact(artifact, maker.component, maker.run_id, path, size, reason)
            )
    found = _without_shared(found, everything)
    return UnusedArtifacts(
        unused=tuple(one for one in found if not one.reason),
        kept=tuple(one for one in found if one.reason),
        elsewhere=len(ours) - len(found),
        keep_runs=keep_runs,
        foreign=len(artifacts) - len(ours),
    )


def own_artifacts(store: MetadataReader, everything: list[Artifact]) -> list[Artifact]:
    """Returns the artifacts of this project's pipelines; no others may be deleted or marked.

    Args:
      store: Store to read.
      everything: All artifacts of the store.
    """
    return _of_own_pipelines(everything, Surroundings(store, everything))


def _of_own_pipelines(everything: list[Artifact], around: Surroundings) -> list[Artifact]:
    """Returns the artifacts of pipelines in which SparkExampleGen made examples."""
    made = (a for a in everything if a.type == names.EXAMPLES and is_ours(a))
    own = {around.pipeline(artifact.id) for artifact in made} - {""}
    return [a for a in everything if around.pipeline(a.id) in own]


def _without_shared(
    found: list[StoredArtifact], artifacts: Iterable[Artifact]
) -> list[StoredArtifact]:
    """Keeps each folder that contains, equals or lies in a folder of an artifact that stays."""
    unused = {one.artifact.id for one in found if not one.reason}
    if not unused:
        return found
    named = _NamedFolders(a for a in artifacts if a.id not in unused and a.state not in _REMOVED)
    result = []
    for one in found:
        other = None if one.reason else named.by(one.path)
        shared = f"artifact {other} names this folder, too"
        result.append(one if other is None else dataclasses.replace(one, reason=shared))
    return result


class _NamedFolders:
    """An index of the folders that artifacts name, and of their parents, to artifact ids."""

    def __init__(self, artifacts: Iterable[Artifact]) -> None:
        self._folders: dict[str, int] = {}
        self._above: dict[str, int] = {}
        self._relative: dict[str, int] = {}  # the folder they are relative to is unknown
        for artifact in artifacts:
            path = local_path(artifact.uri)
            if path is not None and path.is_absolute():
                folder = Path(os.path.realpath(path))
                self._folders[str(folder)] = artifact.id
                self._above |= dict.fromkeys(map(str, folder.parents), artifact.id)
            elif path is not None:
                self._relative[f"/{os.path.normpath(path)}/"] = artifact.id

    def by(self, folder: Path) -> int | None:
        """Returns the id of an artifact whose folder contains, equals or lies in this one."""
        real = Path(os.path.realpath(folder))
        if str(real) in self._above:
            return self._above[str(real)]
        for path in (str(real), *map(str, real.parents)):
            if path in self._folders:
                return self._folders[path]
        return next((i for end, i in self._relative.items() if end in f"{real}/"), None)


def still_runs(run: Run) -> bool:
    """Returns whether a component is running; a run that began days ago is taken for dead."""
    since = dt.datetime.now(dt.timezone.utc) - _LONGEST_RUN
    return run.started >= since and any(e.state in _MAY_RUN for e in run.components)


def recent_runs(store: MetadataReader) -> Iterator[Run]:
    """Yields the runs that may still be running, newest first."""
    since = dt.datetime.now(dt.timezone.utc) - _LONGEST_RUN
    for run in store.runs_until():
        if run.started < since:
            return
        yield run


class _KeepReasons:
    """The reason why each artifact is kept; `found` maps artifact ids to the strongest one."""

    def __init__(
        self,
        store: MetadataReader,
        artifacts: list[Artifact],
        around: Surroundings,
        keep_runs: int,
    ) -> None:
        self.found: dict[int, str] = {}
        self._store, self._around = store, around
        self._artifacts = {artifact.id: artifact for artifact in artifacts}
        oldest = self._served()
        self._blessed(oldest)
        self._runs(max(keep_runs, 1))
        self._windows()
        self._unknown()

    def _keep(self, artifact_ids: Iterable[int], reason: str) -> None:
        for artifact_id in artifact_ids:
            self.found.setdefault(artifact_id, reason)

    def _pipeline(self, artifact_id: int) -> str:
        there = artifact_id in self._artifacts  # deleted artifacts do not decide what is newest
        return self._around.pipeline(artifact_id) if there else ""

    def _served(self) -> dict[str, int]:
        """Keeps what pushed versions need; returns the oldest artifact kept for each pipeline."""
        oldest: dict[str, int] = {}
        for pushed in filter(_is_there, pushed_models(self._store)):
            around = self._around.around([pushed.id])
            self._keep(around, f"version {version_of(pushed)} is served, or can be")
            models = [
                i for i in around if i in self._artifacts and self._artifacts[i].type == names.MODEL
            ]
            pipeline = self._pipeline(pushed.id)
            oldest[pipeline] = min([*models, oldest.get(pipeline, pushed.id)])
        return oldest

    def _blessed(self, oldest: dict[str, int]) -> None:
        newest: set[str] = set()
        for blessing in self._store.artifacts_of_type(names.MODEL_BLESSING):
            pipeline = self._pipeline(blessing.id)
            if not blessing.properties.get(names.BLESSED):
                continue
            if pipeline not in newest or blessing.id >= oldest.get(pipeline, blessing.id + 1):
                reason = "a later model may begin with it, or be compared with it"
                self._keep(self._around.around([blessing.id]), reason)
            newest.add(pipeline)

    def _runs(self, keep_runs: int) -> None:
        left = dict.fromkeys(self._store.pipelines(), keep_runs)
        since = dt.datetime.now(dt.timezone.utc) - _LONGEST_RUN
        for run in self._store.runs_until():
            if run.started < since and not any(left.values()):
                break
            if still_runs(run):
                self._keep(run.touched, f"run {run.run_id} still runs")
            elif left.get(run.pipeline, keep_runs) > 0:
                self._keep(run.touched, f"run {run.run_id}")
                # A rollout is a run without outputs, and a failed run may have used little.
                if run.state == "complete" and any(e.outputs for e in run.components):
                    left[run.pipeline] = left.get(run.pipeline, keep_runs) - 1

    def _windows(self) -> None:
        """Keeps examples that a later window may read, judged by the oldest span that is kept."""
        generated = [a for a in self._artifacts.values() if _is_generated(a)]
        first: dict[str, int] = {}
        for artifact in generated:
            if artifact.id in self.found:
                pipeline, span = self._pipeline(artifact.id), int(artifact.properties[names.SPAN])
                first[pipeline] = min(span, first.get(pipeline, span))
        wanted = [
            a.id
            for a in generated
            if int(a.properties[names.SPAN]) >= first.get(self._pipeline(a.id), 1 << 63)
        ]
        self._keep(wanted, "its span is in the window")
        made = self._store.artifacts(edge.artifact_id for edge in products(self._store, wanted))
        beside = [a.id for a in made.values() if a.type == names.EXAMPLE_STATISTICS]
        self._keep(beside, "its span is in the window")

    def _unknown(self) -> None:
        for artifact in self._artifacts.values():
            if artifact.type not in _KNOWN_TYPES:
                self._keep([artifact.id], f"who reads outputs of type {artifact.type} is not known")


def _is_generated(artifact: Artifact) -> bool:
    """Returns whether an ExampleGen made these examples; Transform's have no fingerprint."""
    properties = artifact.properties
    has_span = isinstance(properties.get(names.SPAN), int)
    return artifact.type == names.EXAMPLES and has_span and names.INPUT_FINGERPRINT in properties


def _is_there(pushed: Artifact) -> bool:
    """Returns whether a pushed model exists, or may exist elsewhere or on an unmounted disk."""
    path = local_path(destination_of(pushed))
    try:
        if path is None or not path.is_absolute() or path.is_dir():
            return True
        return not path.parent.is_dir() or not any(path.parent.iterdir())
    except OSError:  # no permission
        return True


def _own_folder(artifact: Artifact, key: str, maker: Execution) -> Path | None:
    """Returns ROOT/COMPONENT/KEY/EXECUTION, as TFX names an output's folder, if it still exists.

    A relative path is skipped: below the current folder it may be another pipeline's.
    """
    path = local_path(artifact.uri)
    if path is None or path.parts[-3:] != (maker.component, key, str(maker.id)):
        return None
    return path if path.is_absolute() and is_folder(path) and not path.is_symlink() else None


def _size(folder: Path) -> int:
    """Returns the bytes of all files below; a file that disappears meanwhile does not count."""
    total = 0
    try:
        for parent, _, files in os.walk(folder, onerror=_raise):
            for name in files:
                try:
                    total += (Path(parent) / name).lstat().st_size
                except FileNotFoundError:
                    continue
    except OSError as error:
        raise MetadataError(f"cannot read {folder}: {error.strerror or error}") from error
    return total


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
