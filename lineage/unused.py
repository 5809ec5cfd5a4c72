"""What no run and no served model needs any more: `unused(store)`; delete.py deletes it.

Of each pipeline are kept

- what its newest complete runs, all runs since, and those that still run, made, read, picked or
  took from the cache;
- examples of spans that are not older than the oldest of these, with their statistics: a window
  that moves on by several spans at once will read them;
- every pushed version whose folder is still there, since it is served or may be gone back to, with
  its model, transform graph, schema, evaluation and blessing;
- blessed models that are not older than the oldest of these: after a rollback a run begins with
  one of them, and is compared with it;
- what lies anywhere but where TFX puts a component's output: it may belong to somebody else;
- outputs of a type that this project does not know: nobody here can say who reads them;
- a folder that an artifact which is kept names, too, as an Importer's does.

Pipelines without SparkExampleGen are not looked at. What they keep, serve and read again follows
rules that nobody has told us.

Examples of a served model are not kept for it: lineage remembers their spans, rows and checksums.
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
from metadata.reader import LineageError, LineageStore
from metadata.records import Artifact, Execution, Run

KEEP_RUNS = 3
_LONGEST_RUN = dt.timedelta(days=2)
_REMOVED = frozenset({"deleted", "abandoned"})
_GONE = _REMOVED | {"reference"}
# Outputs whose readers are known: TFX's own components and this project's.
_KNOWN_TYPES = frozenset(
    {
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
        names.TUNER_RESULTS,
    }
)
_MAY_RUN = frozenset({"running", "unknown"})


@dataclasses.dataclass(frozen=True)
class StoredArtifact:
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
class UnusedArtifacts:
    """What could be deleted, and what could not, oldest first; with the rule that was followed.

    Attributes:
      unused, kept: artifacts with a folder here.
      elsewhere: artifacts whose folder is not on this machine, or not where TFX puts outputs.
      foreign: artifacts of other pipelines than this project's, or of none.
      keep_runs: so many of the newest runs keep what they touched.
    """

    unused: tuple[StoredArtifact, ...]
    kept: tuple[StoredArtifact, ...]
    elsewhere: int
    keep_runs: int
    foreign: int = 0

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in self.unused)


def unused(store: LineageStore, keep_runs: int = KEEP_RUNS) -> UnusedArtifacts:
    """Looks at every artifact that is still on this machine.

    Args:
      store: where to look.
      keep_runs: of each pipeline, so many of the newest complete runs keep what they touched; 1 at
        least.

    Raises:
      LineageError: the store cannot be read, or a folder not looked into.
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


def own_artifacts(store: LineageStore, everything: list[Artifact]) -> list[Artifact]:
    """Those that pipelines of this project made; nobody else's may be deleted or marked.

    Args:
      store: where to look.
      everything: all artifacts that it has.
    """
    return _of_own_pipelines(everything, Surroundings(store, everything))


def _of_own_pipelines(everything: list[Artifact], around: Surroundings) -> list[Artifact]:
    """A pipeline is ours if SparkExampleGen made examples in it, deleted ones or not."""
    made = (a for a in everything if a.type == names.EXAMPLES and is_ours(a))
    own = {around.pipeline(artifact.id) for artifact in made} - {""}
    return [a for a in everything if around.pipeline(a.id) in own]


def _without_shared(
    found: list[StoredArtifact], artifacts: Iterable[Artifact]
) -> list[StoredArtifact]:
    """The same, but a folder is kept if an artifact that stays names it, or one in or above it."""
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
    """Folders that artifacts name, and those above them; path -> the artifact's id."""

    def __init__(self, artifacts: Iterable[Artifact]) -> None:
        self._folders: dict[str, int] = {}
        self._above: dict[str, int] = {}
        self._relative: dict[str, int] = {}  # to a folder that nobody knows
        for artifact in artifacts:
            path = local_path(artifact.uri)
            if path is not None and path.is_absolute():
                folder = Path(os.path.realpath(path))
                self._folders[str(folder)] = artifact.id
                self._above |= dict.fromkeys(map(str, folder.parents), artifact.id)
            elif path is not None:
                self._relative[f"/{os.path.normpath(path)}/"] = artifact.id

    def by(self, folder: Path) -> int | None:
        """The artifact that names this folder, or one in or above it."""
        real = Path(os.path.realpath(folder))
        if str(real) in self._above:
            return self._above[str(real)]
        for path in (str(real), *map(str, real.parents)):
            if path in self._folders:
                return self._folders[path]
        return next((i for end, i in self._relative.items() if end in f"{real}/"), None)


def still_runs(run: Run) -> bool:
    """Whether a component of it runs; what began days ago and has no end died without a word."""
    since = dt.datetime.now(dt.timezone.utc) - _LONGEST_RUN
    return run.started >= since and any(e.state in _MAY_RUN for e in run.components)


def recent_runs(store: LineageStore) -> Iterator[Run]:
    """Those that may still run, newest first."""
    since = dt.datetime.now(dt.timezone.utc) - _LONGEST_RUN
    for run in store.runs_until():
        if run.started < since:
            return
        yield run


class _KeepReasons:
    """Artifact id -> why it is kept; the strongest reason."""

    def __init__(
        self,
        store: LineageStore,
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
        there = artifact_id in self._artifacts  # what is gone says nothing of what is the newest
        return self._around.pipeline(artifact_id) if there else ""

    def _served(self) -> dict[str, int]:
        """Pipeline -> the oldest artifact that its versions keep."""
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
                # Not a rollout, recorded as a run of its own; nor one that failed and used little.
                if run.state == "complete" and any(e.outputs for e in run.components):
                    left[run.pipeline] = left.get(run.pipeline, keep_runs) - 1

    def _windows(self) -> None:
        """Examples that a window is still to reach, by the spans of those that are kept."""
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
    """Examples of an ExampleGen: Transform's have no fingerprint."""
    properties = artifact.properties
    has_span = isinstance(properties.get(names.SPAN), int)
    return artifact.type == names.EXAMPLES and has_span and names.INPUT_FINGERPRINT in properties


def _is_there(pushed: Artifact) -> bool:
    """Or may be: on another machine, or on a file system that is not mounted here now."""
    path = local_path(destination_of(pushed))
    try:
        if path is None or not path.is_absolute() or path.is_dir():
            return True
        return not path.parent.is_dir() or not any(path.parent.iterdir())
    except OSError:  # it may not be looked into
        return True


def _own_folder(artifact: Artifact, key: str, maker: Execution) -> Path | None:
    """ROOT/COMPONENT/KEY/EXECUTION, as TFX names it, if it is still there.

    Not a relative one: below the current folder there may be another pipeline's.
    """
    path = local_path(artifact.uri)
    if path is None or path.parts[-3:] != (maker.component, key, str(maker.id)):
        return None
    return path if path.is_absolute() and is_folder(path) and not path.is_symlink() else None


def _size(folder: Path) -> int:
    """Of all files below; a file that goes meanwhile does not count."""
    total = 0
    try:
        for parent, _, files in os.walk(folder, onerror=_raise):
            for name in files:
                try:
                    total += (Path(parent) / name).lstat().st_size
                except FileNotFoundError:
                    continue
    except OSError as error:
        raise LineageError(f"cannot look into {folder}: {error.strerror or error}") from error
    return total


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
