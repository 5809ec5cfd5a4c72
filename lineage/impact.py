"""Follows data forward to everything made from it: `impact(store, examples_id)`."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from lineage.dataset import GONE, Dataset, read_dataset
from lineage.served import ServedModel, served
from metadata import names
from metadata.graph import Graph, descendants, edges_of_artifacts, made_from
from metadata.pushed_models import destination_of, version_of, was_made, was_pushed
from metadata.reader import MetadataError, MetadataReader
from metadata.records import Artifact, Execution


@dataclasses.dataclass(frozen=True)
class MadeArtifact:
    """An artifact, and the run and component that made it."""

    artifact: Artifact
    component: str
    run_id: str


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """An evaluation on the data; `trained_from_it` says whether its model was trained from it."""

    artifact: Artifact
    run_id: str
    model_id: int | None
    trained_from_it: bool


@dataclasses.dataclass(frozen=True)
class Push:
    """A pushed model that was trained from the data, or evaluated on it.

    Attributes:
      artifact: The PushedModel.
      run_id: Id of the run that pushed it.
      version, destination: Version and folder it was pushed to.
      model_id: Id of the Model artifact.
      trained_from_it: Whether it was trained from the data, not only evaluated on it.
      labels: Labels it answers for now: 'stable', 'canary'.
      counts: Recorded counts of what it served, by name; that of all events comes first (see
        `served.py`).
    """

    artifact: Artifact
    run_id: str
    version: str
    destination: str
    model_id: int | None
    trained_from_it: bool
    labels: tuple[str, ...]
    counts: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Impact:
    """Everything that was made from some artifacts; each tuple is sorted newest first.

    Attributes:
      artifact: The newest artifact that was asked about.
      artifacts: All artifacts that were asked about.
      models: Models trained from them.
      evaluations: Evaluations that read them, or a model trained from them.
      pushes: Pushed models among those.
      runs: Ids of all runs that used them, also from the cache.
      unknown: Ids of Examples whose manifest cannot be read; they may also have read the file.
      unrecorded: Ids of Examples whose ExampleGen records no source files; the same holds.
    """

    artifact: Artifact
    artifacts: tuple[Artifact, ...]
    models: tuple[MadeArtifact, ...]
    evaluations: tuple[Evaluation, ...]
    pushes: tuple[Push, ...]
    runs: tuple[str, ...]
    unknown: tuple[int, ...] = ()
    unrecorded: tuple[int, ...] = ()


def impact(store: MetadataReader, *artifact_ids: int) -> Impact:
    """Finds what was trained, evaluated and pushed from examples (or from any other artifacts).

    Raises:
      MetadataError: No artifact has one of these ids.
    """
    asked = sorted((store.artifact(i) for i in artifact_ids), key=lambda a: a.id, reverse=True)
    graph = descendants(store, artifact_ids)
    pushed = [a for a in graph.of_type(names.PUSHED_MODEL) if was_pushed(a)]
    serving = {one.destination: one for one in served(store)} if pushed else {}
    return Impact(
        artifact=asked[0],
        artifacts=tuple(asked),
        models=tuple(_made(graph, model) for model in graph.of_type(names.MODEL)),
        evaluations=tuple(_evaluation(graph, a) for a in graph.of_type(names.MODEL_EVALUATION)),
        pushes=tuple(_push(graph, a, serving.get(destination_of(a))) for a in pushed),
        runs=_runs(store, artifact_ids, graph),
    )


def impact_of(store: MetadataReader, wanted: str) -> Impact:
    """Finds what was made from data that a person names.

    Args:
      store: Store to read.
      wanted: Id of an artifact, also as 'artifact:12'; 'latest' (the newest Examples that an
        ExampleGen made); or a source file or folder, by its path or the end of it.

    Raises:
      MetadataError: There is no such artifact or file.
    """
    number = wanted.removeprefix("artifact:")
    if number.isdecimal():
        return impact(store, int(number))
    examples = [a for a in store.artifacts_of_type(names.EXAMPLES) if was_made(a)]
    of_example_gens = (a.id for a in examples if names.INPUT_FINGERPRINT in a.properties)
    if wanted == "latest" and (newest := next(of_example_gens, None)) is not None:
        return impact(store, newest)
    examples = _generated(store, examples)
    if not examples:
        raise MetadataError(
            f"no Examples are recorded in {store.name}; give another artifact's id, or see what "
            "there is: python -m lineage list"
        )
    if wanted == "latest":
        return impact(store, examples[0].id)
    datasets = [read_dataset(artifact, None) for artifact in examples]
    unknown = tuple(d.examples.id for d in datasets if d.lost_manifest)
    unrecorded = tuple(d.examples.id for d in datasets if not d.is_ours)
    found = [d.examples.id for d in datasets if _reads(d, wanted)]
    if found:
        known = impact(store, *found)
        return dataclasses.replace(known, unknown=unknown, unrecorded=unrecorded)
    raise MetadataError(_no_such_file(store, wanted, datasets))


def _generated(store: MetadataReader, examples: list[Artifact]) -> list[Artifact]:
    """Returns the examples that came from outside, without those that Transform made."""
    unclear = [a.id for a in examples if names.INPUT_FINGERPRINT not in a.properties]
    all_examples = {a.id for a in examples}
    sources = made_from(store, unclear)
    return [a for a in examples if not sources.get(a.id, set()) & all_examples]


def _no_such_file(store: MetadataReader, wanted: str, datasets: list[Dataset]) -> str:
    """Returns the message for a file that no manifest names."""
    at_hand = sum(d.is_ours and not d.manifest_problem for d in datasets)
    lost = sum(d.manifest_problem == GONE for d in datasets)
    unrecorded = sum(not d.is_ours for d in datasets)
    unreadable = len(datasets) - at_hand - lost - unrecorded
    others = [
        f"{lost} more have lost their manifest" if lost else "",
        f"the manifest of {unreadable} more cannot be read here" if unreadable else "",
        f"the source files of {unrecorded} more are not recorded" if unrecorded else "",
    ]
    more = ", ".join(filter(None, others))
    return (
        f"'{wanted}' is no artifact id, and no source file of the {at_hand} Examples in "
        f"{store.name} whose manifest is at hand{more and f' ({more})'}; see ids with: python -m "
        "lineage show latest, and files with: python -m lineage trace latest --files"
    )


def _reads(dataset: Dataset, wanted: str) -> bool:
    """Returns whether a source file, or a folder above it, has this path or ends in it."""
    base = (dataset.input_base or "").rstrip("/")
    end = f"/{wanted.removeprefix('./').strip('/')}"
    paths = (f"{base}/{file.path}" for source in dataset.sources for file in source.files)
    return any(path.endswith(end) or f"{end}/" in path for path in paths)


def _made(graph: Graph, artifact: Artifact) -> MadeArtifact:
    maker = graph.maker(artifact.id)
    return MadeArtifact(artifact, maker.component if maker else "", maker.run_id if maker else "")


def _evaluation(graph: Graph, artifact: Artifact) -> Evaluation:
    maker = graph.maker(artifact.id)
    model = _model_of(maker)
    return Evaluation(artifact, maker.run_id if maker else "", model, _in_graph(graph, model))


def _push(graph: Graph, artifact: Artifact, serving: ServedModel | None) -> Push:
    maker = graph.maker(artifact.id)
    model = _model_of(maker)
    return Push(
        artifact=artifact,
        run_id=maker.run_id if maker else "",
        version=version_of(artifact),
        destination=destination_of(artifact),
        model_id=model,
        trained_from_it=_in_graph(graph, model),
        labels=serving.labels if serving else (),
        counts=serving.counts if serving else {},
    )


def _model_of(maker: Execution | None) -> int | None:
    """Returns the id of the candidate, which Evaluator and Pusher read under the same key."""
    return next(iter(maker.inputs.get("model", ())), None) if maker else None


def _in_graph(graph: Graph, model_id: int | None) -> bool:
    return model_id is not None and model_id in graph.artifacts


def _runs(store: MetadataReader, artifact_ids: Collection[int], graph: Graph) -> tuple[str, ...]:
    touching = {edge.execution_id for edge in edges_of_artifacts(store, artifact_ids)}
    executions = {**store.executions(touching - graph.executions.keys()), **graph.executions}
    newest_first = sorted(executions.values(), key=lambda e: e.id, reverse=True)
    return tuple(dict.fromkeys(e.run_id for e in newest_first if e.run_id))
