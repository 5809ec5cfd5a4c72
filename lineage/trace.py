"""From a served model back to the source files: `trace(store, "latest")`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from base.foreign_json import parse
from base.shared_names import RUN_SUMMARY
from lineage.dataset import Dataset, read_dataset
from lineage.evaluation import read_evaluation
from metadata.graph import Graph, ancestors, products
from metadata.reader import LineageError, LineageStore
from metadata.records import Artifact, Execution

BASE_MODEL = "base_model"  # Trainer's key of what a warm start begins with
_NO_METRIC = "example_count"  # TFMA counts beside its metrics
_NEVER_MADE = frozenset({"pending", "abandoned"})  # states of outputs of a component that failed


@dataclasses.dataclass(frozen=True)
class Blessing:
    """Evaluator's verdict.

    Attributes:
      artifact: the ModelBlessing.
      blessed: None if the store does not record it.
      current_model_id: Id of the model that was judged.
      baseline_model_id: None when there was nothing to compare with.
    """

    artifact: Artifact
    blessed: bool | None
    current_model_id: int | None
    baseline_model_id: int | None


@dataclasses.dataclass(frozen=True)
class Trace:
    """Everything a served model came from.

    Attributes:
      pushed: the PushedModel artifact.
      version: the version it was pushed as; '' if its Pusher recorded none.
      destination: the folder it was pushed to, which the model server watches; '' likewise.
      model: what Trainer made; None if the store does not record it. So also the next three.
      base_model: what a warm start began with; None without one.
      transform_graph: the preprocessing inside the model.
      schema: the schema that Trainer knew.
      evaluation: the ModelEvaluation behind the blessing.
      blessing: None if the pipeline pushes without one, or none is recorded.
      metrics: of the evaluation, by name; empty if neither a summary of that run was found nor
        the evaluation itself.
      metrics_from: path of what they were read from.
      datasets: the examples it was made from and evaluated on, newest first.
      executions: the components that made all this, in the order they started.
    """

    pushed: Artifact
    version: str
    destination: str
    model: Artifact | None
    transform_graph: Artifact | None
    schema: Artifact | None
    evaluation: Artifact | None
    blessing: Blessing | None
    metrics: dict[str, float]
    metrics_from: str | None
    datasets: tuple[Dataset, ...]
    executions: tuple[Execution, ...]
    base_model: Artifact | None = None

    def maker(self, artifact: Artifact) -> Execution | None:
        """The component that made an artifact of this trace."""
        makers = (e for e in self.executions for ids in e.outputs.values() if artifact.id in ids)
        return next(makers, None)


def trace(store: LineageStore, pushed: int | str, summaries: Path | None = None) -> Trace:
    """Walks from a pushed model to its source files.

    Args:
      store: where to look.
      pushed: version, destination, the run that pushed it, 'model:7', 'artifact:12', 'latest', or
        the artifact's id as a number.
      summaries: folder of <run_id>/run_summary.json, which hold the metrics and what else is
        known of them; without it they are read from the evaluation.

    Raises:
      LineageError: there is no such pushed model.
    """
    artifact = find_pushed(store, pushed)
    graph = ancestors(store, [artifact.id])
    pusher = graph.maker(artifact.id)
    model = _input(graph, pusher, "Model")
    trainer = graph.maker(model.id) if model else None
    verdict = _input(graph, pusher, "ModelBlessing")
    evaluator = graph.maker(verdict.id) if verdict else None
    evaluation = _output(store, evaluator, "ModelEvaluation")
    metrics, metrics_from = metrics_of(summaries, (evaluator, pusher), evaluation)
    return Trace(
        pushed=artifact,
        version=version_of(artifact),
        destination=destination_of(artifact),
        model=model,
        transform_graph=_input(graph, trainer, "TransformGraph"),
        schema=_input(graph, trainer, "Schema"),
        evaluation=evaluation,
        blessing=_blessing(verdict),
        metrics=metrics,
        metrics_from=metrics_from,
        datasets=_datasets(store, graph),
        executions=tuple(sorted(graph.executions.values(), key=lambda e: e.id)),
        base_model=_base_model(graph, trainer),
    )


def find_pushed(store: LineageStore, pushed: int | str) -> Artifact:
    """Args as in `trace`; a text that is a version is that, whatever artifact has this number.

    Raises:
      LineageError: there is none; it names what there is.
    """
    models = pushed_models(store)
    if not models:
        raise LineageError(_no_pushed_model(store))
    kind, _, rest = str(pushed).partition(":")
    wanted = rest if kind in ("artifact", "model", "run") and rest else str(pushed)
    if wanted == "latest":
        return models[0]
    if isinstance(pushed, int):
        kind = "artifact"
    found: list[Artifact] = []
    # In this order: a text that could be several is the first of these.
    if kind not in ("artifact", "run"):
        found += _named(models, wanted)
    if kind not in ("artifact", "model"):
        found += _of_run(store, models, wanted)
    if kind not in ("model", "run"):
        found += [a for a in models if str(a.id) == wanted]
    if found:
        return found[0]
    newest = ", ".join(f"{version_of(a) or 'unknown'} (artifact {a.id})" for a in models[:3])
    raise LineageError(
        f"no pushed model '{wanted}' in {store.name}; the newest versions are {newest}; "
        "list them with: python -m lineage served"
    )


def _no_pushed_model(store: LineageStore) -> str:
    """The message for a store without one; its Pusher may just as well not be recorded."""
    blessed = any(a.properties.get("blessed") for a in store.artifacts_of_type("ModelBlessing"))
    why = [] if blessed else ["none was blessed yet"]
    tried = any(map(was_made, store.artifacts_of_type("PushedModel")))
    why.append("its Pushers pushed none" if tried else "no push is recorded")
    return (
        f"{store.name} has no pushed model: {', and '.join(why)}; "
        "see why with: python -m lineage show latest"
    )


def _named(models: list[Artifact], wanted: str) -> list[Artifact]:
    """Of this version, or pushed to this folder.

    Raises:
      LineageError: two folders have one of that version.
    """
    folder = wanted.rstrip("/")
    folders = {folder, str(Path(folder).absolute())}
    named = [a for a in models if destination_of(a).rstrip("/") in folders]
    if named:
        return named
    named = [a for a in models if version_of(a) == wanted]
    places = {destination_of(a).rstrip("/"): a.id for a in reversed(named)}
    if len(places) > 1:
        which = ", ".join(f"artifact:{number} ({place})" for place, number in places.items())
        raise LineageError(f"version {wanted} was pushed to {len(places)} folders; say: {which}")
    return named


def _of_run(store: LineageStore, models: list[Artifact], wanted: str) -> list[Artifact]:
    """What a run pushed."""
    if wanted not in store.run_ids():
        return []
    run = store.run(wanted)
    made = {i for e in run.components for ids in e.outputs.values() for i in ids}
    return [a for a in models if a.id in made]


def pushed_models(store: LineageStore) -> list[Artifact]:
    """Newest first; not what a Pusher left that did not push."""
    return [a for a in store.artifacts_of_type("PushedModel") if was_pushed(a)]


def was_pushed(artifact: Artifact) -> bool:
    """Whether a PushedModel was pushed; a Pusher other than TFX's need not say where."""
    return artifact.properties.get("pushed") != 0 and was_made(artifact)


def was_made(artifact: Artifact) -> bool:
    """Whether an output came to be; that of a component that failed is recorded, too."""
    return artifact.state not in _NEVER_MADE


def version_of(pushed: Artifact) -> str:
    """The version a model was pushed as; '' if it was not, or if that is not recorded."""
    return str(pushed.properties.get("pushed_version") or Path(destination_of(pushed)).name)


def destination_of(pushed: Artifact) -> str:
    return str(pushed.properties.get("pushed_destination") or "")


def _input(graph: Graph, execution: Execution | None, type_name: str) -> Artifact | None:
    """What an execution read of a type."""
    ids = [i for ids in execution.inputs.values() for i in ids] if execution else []
    # Not its baseline: that one is no part of the graph.
    found = [graph.artifacts[i] for i in ids if i in graph.artifacts]
    return next((artifact for artifact in found if artifact.type == type_name), None)


def _base_model(graph: Graph, trainer: Execution | None) -> Artifact | None:
    ids = trainer.inputs.get(BASE_MODEL, ()) if trainer else ()
    return next((graph.artifacts[i] for i in ids if i in graph.artifacts), None)


def _output(store: LineageStore, execution: Execution | None, type_name: str) -> Artifact | None:
    """What an execution made of a type; it need not be in the graph."""
    ids = [i for ids in execution.outputs.values() for i in ids] if execution else []
    return next((a for a in store.artifacts(ids).values() if a.type == type_name), None)


def _blessing(artifact: Artifact | None) -> Blessing | None:
    if artifact is None:
        return None
    properties = artifact.properties
    return Blessing(
        artifact=artifact,
        blessed=bool(properties["blessed"]) if "blessed" in properties else None,
        current_model_id=properties.get("current_model_id"),
        baseline_model_id=properties.get("baseline_model_id"),
    )


def _datasets(store: LineageStore, graph: Graph) -> tuple[Dataset, ...]:
    """The Examples that were not made from other Examples, as Transform's are."""
    examples = graph.of_type("Examples")
    ids = {artifact.id for artifact in examples}
    derived = {
        edge.execution_id
        for edge in graph.edges
        if edge.kind == "input" and edge.artifact_id in ids
    }
    makers_of = {artifact.id: graph.maker(artifact.id) for artifact in examples}
    roots = [a for a in examples if (maker := makers_of[a.id]) is None or maker.id not in derived]
    return tuple(dataset_of(store, artifact, makers_of[artifact.id]) for artifact in roots)


def dataset_of(store: LineageStore, examples: Artifact, maker: Execution | None) -> Dataset:
    """All that is known of examples, and of the execution that made them."""
    return read_dataset(
        examples,
        maker,
        quarantine=_output(store, maker, "QuarantinedRecords"),
        statistics=_statistics(store, examples),
    )


def _statistics(store: LineageStore, examples: Artifact) -> tuple[Artifact, ...]:
    made = store.artifacts(edge.artifact_id for edge in products(store, [examples.id]))
    found = [artifact for artifact in made.values() if artifact.type == "ExampleStatistics"]
    return tuple(sorted(found, key=lambda a: a.id, reverse=True))


def metrics_of(
    summaries: Path | None, executions: Iterable[Execution | None], evaluation: Artifact | None
) -> tuple[dict[str, float], str | None]:
    """Metrics by name, and the path they are from.

    Args:
      summaries: folder of <run_id>/run_summary.json.
      executions: the summary of the first one's run that has any is taken.
      evaluation: read if there is no summary.
    """
    for execution in executions:
        if summaries is None or execution is None or not execution.run_id:
            continue
        path = summaries / execution.run_id / RUN_SUMMARY
        metrics = _numbers(path)
        if metrics:
            return metrics, str(path)
    found = read_evaluation(evaluation.uri) if evaluation else None
    if evaluation is None or found is None or found.overall is None:
        return {}, None
    metrics = {n: m.value for n, m in found.overall.metrics.items() if n != _NO_METRIC}
    return metrics, evaluation.uri


def error_of(folder: Path) -> str | None:
    """Why the run of this folder failed, by its summary."""
    found = read_summary(folder / RUN_SUMMARY).get("error")
    return found if isinstance(found, str) else None


def _numbers(path: Path) -> dict[str, float]:
    found = read_summary(path).get("metrics")
    named = found.items() if isinstance(found, dict) else ()
    return {name: value for name, value in named if isinstance(value, int | float)}


def read_summary(path: Path) -> dict[str, Any]:
    """Nothing if there is none, or none that can be read: the answer stands without."""
    try:
        found = parse(path.read_text("utf-8"), finite=False)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
