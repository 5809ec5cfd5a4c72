"""From data forward to what was made from it: `impact(store, examples_id)`."""

from __future__ import annotations

import dataclasses

from lineage.records import Artifact, Execution
from lineage.store import LineageError, LineageStore
from lineage.trace import destination_of, version_of
from lineage.walk import Graph, descendants, edges_of_artifacts


@dataclasses.dataclass(frozen=True)
class Made:
    """An artifact, and the run and component that made it."""

    artifact: Artifact
    component: str
    run_id: str


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """An evaluation that read the data; `trained_from_it` says whether its model did, too."""

    artifact: Artifact
    run_id: str
    model_id: int | None
    trained_from_it: bool


@dataclasses.dataclass(frozen=True)
class Push:
    """A model that was pushed; it was trained from the data, or only evaluated on it."""

    artifact: Artifact
    run_id: str
    version: str
    destination: str
    model_id: int | None
    trained_from_it: bool


@dataclasses.dataclass(frozen=True)
class Impact:
    """What was made from an artifact; each tuple newest first.

    Attributes:
      artifact: the one asked about.
      models: trained from it.
      evaluations: that read it, or a model trained from it.
      pushes: of those models.
      runs: ids of all runs that used it, also from the cache.
    """

    artifact: Artifact
    models: tuple[Made, ...]
    evaluations: tuple[Evaluation, ...]
    pushes: tuple[Push, ...]
    runs: tuple[str, ...]


def impact(store: LineageStore, examples_id: int) -> Impact:
    """Finds what was trained, evaluated and pushed from examples (or from any other artifact).

    Raises:
      LineageError: no artifact has this id.
    """
    artifact = store.artifact(examples_id)
    graph = descendants(store, [artifact.id])
    models = [_made(graph, model) for model in graph.of_type("Model")]
    return Impact(
        artifact=artifact,
        models=tuple(models),
        evaluations=tuple(_evaluation(graph, a) for a in graph.of_type("ModelEvaluation")),
        pushes=tuple(
            _push(graph, a) for a in graph.of_type("PushedModel") if a.properties.get("pushed") != 0
        ),
        runs=_runs(store, artifact.id, graph),
    )


def find_examples(store: LineageStore, wanted: str) -> int:
    """The id of 'latest' (the newest Examples an ExampleGen made) or of a number.

    Raises:
      LineageError: it is neither, or there are no examples.
    """
    if wanted.isdecimal():
        return int(wanted)
    if wanted != "latest":
        raise LineageError(
            f"'{wanted}' is no artifact id; give a number or 'latest'; "
            "see the ids with: python -m lineage show latest"
        )
    examples = store.artifacts_of_type("Examples")
    # ExampleGens write a fingerprint of their input, Transform does not.
    found = [a for a in examples if "input_fingerprint" in a.properties] or examples
    if not found:
        raise LineageError(
            f"{store.name} has no Examples yet; see what happened: python -m lineage list"
        )
    return found[0].id


def _made(graph: Graph, artifact: Artifact) -> Made:
    maker = graph.maker(artifact.id)
    return Made(artifact, maker.component if maker else "", maker.run_id if maker else "")


def _evaluation(graph: Graph, artifact: Artifact) -> Evaluation:
    maker = graph.maker(artifact.id)
    model = _model_of(maker)
    return Evaluation(artifact, maker.run_id if maker else "", model, _in_graph(graph, model))


def _push(graph: Graph, artifact: Artifact) -> Push:
    maker = graph.maker(artifact.id)
    model = _model_of(maker)
    return Push(
        artifact=artifact,
        run_id=maker.run_id if maker else "",
        version=version_of(artifact),
        destination=destination_of(artifact),
        model_id=model,
        trained_from_it=_in_graph(graph, model),
    )


def _model_of(maker: Execution | None) -> int | None:
    """Evaluator and Pusher both read the candidate under this key."""
    return next(iter(maker.inputs.get("model", ())), None) if maker else None


def _in_graph(graph: Graph, model_id: int | None) -> bool:
    return model_id is not None and model_id in graph.artifacts


def _runs(store: LineageStore, artifact_id: int, graph: Graph) -> tuple[str, ...]:
    touching = {edge.execution_id for edge in edges_of_artifacts(store, [artifact_id])}
    executions = {**store.executions(touching - graph.executions.keys()), **graph.executions}
    newest_first = sorted(executions.values(), key=lambda e: e.id, reverse=True)
    return tuple(dict.fromkeys(e.run_id for e in newest_first if e.run_id))
