"""Traces a served model back to its source files: `trace(store, "latest")`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from lineage.dataset import Dataset, read_dataset
from metadata import names
from metadata.graph import Graph, products
from metadata.pushed_models import (
    destination_of,
    origin_of,
    output_of,
    pushed_as,
    pushed_models,
    version_of,
    was_made,
)
from metadata.reader import MetadataError, MetadataReader
from metadata.records import Artifact, Execution
from pipeline.run_summary import metrics_of


@dataclasses.dataclass(frozen=True)
class Blessing:
    """The Evaluator's verdict.

    Attributes:
      artifact: The ModelBlessing.
      blessed: The verdict; None if the store does not record it.
      current_model_id: Id of the model that was judged.
      baseline_model_id: Id of the model it was compared with; None without a baseline.
    """

    artifact: Artifact
    blessed: bool | None
    current_model_id: int | None
    baseline_model_id: int | None


@dataclasses.dataclass(frozen=True)
class Trace:
    """Everything a served model came from. An artifact that the store does not record is None.

    Attributes:
      pushed: The PushedModel artifact.
      version: Version it was pushed as; '' if its Pusher recorded none.
      destination: Folder it was pushed to, which the model server watches; '' if not recorded.
      model: The Model artifact of the Trainer.
      transform_graph: The preprocessing inside the model.
      schema: The schema that the Trainer read.
      evaluation: The ModelEvaluation behind the blessing.
      blessing: The verdict; None also if the pipeline pushes without one.
      metrics: Metrics of the evaluation by name; empty if neither the run's summary nor the
        evaluation was found.
      metrics_from: Path of the file that the metrics were read from.
      datasets: Examples that the model was made from and evaluated on, newest first.
      executions: Executions that made all these artifacts, in the order of their starts.
      base_model: Model that a warm start began with; None without one.
      decision: Threshold of the model; None if it has none.
      trees: Newest TreeComparison on the examples of the newest dataset; None without one.
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
    decision: Artifact | None = None
    trees: Artifact | None = None

    def maker(self, artifact: Artifact) -> Execution | None:
        """Returns the execution that made an artifact of this trace."""
        makers = (e for e in self.executions for ids in e.outputs.values() if artifact.id in ids)
        return next(makers, None)


def trace(store: MetadataReader, pushed: int | str, summaries: Path | None = None) -> Trace:
    """Walks from a pushed model to its source files.

    Args:
      store: Store to read.
      pushed: Version, destination, id of the run that pushed it, 'model:7', 'artifact:12',
        'latest', or the artifact's id as a number.
      summaries: Folder of <run_id>/run_summary.json files, which hold the metrics; without it
        they are read from the evaluation.

    Raises:
      MetadataError: There is no such pushed model.
    """
    artifact = find_pushed(store, pushed)
    origin = origin_of(store, artifact)
    trainer = origin.graph.maker(origin.model.id) if origin.model else None
    metrics, metrics_from = metrics_of(
        summaries, (origin.evaluator, origin.pusher), origin.evaluation
    )
    datasets = _datasets(store, origin.graph)
    comparisons = _made_of(store, datasets[0].examples, names.TREE_COMPARISON) if datasets else ()
    return Trace(
        pushed=artifact,
        version=version_of(artifact),
        destination=destination_of(artifact),
        model=origin.model,
        transform_graph=origin.transform_graph,
        schema=origin.schema,
        evaluation=origin.evaluation,
        blessing=_blessing(origin.blessing),
        metrics=metrics,
        metrics_from=metrics_from,
        datasets=datasets,
        executions=tuple(sorted(origin.graph.executions.values(), key=lambda e: e.id)),
        base_model=origin.base_model,
        decision=output_of(store, trainer, names.DECISION),
        trees=next(iter(comparisons), None),
    )


def find_pushed(store: MetadataReader, pushed: int | str) -> Artifact:
    """Finds a PushedModel by any name that `trace` takes; a version wins over an artifact id.

    Raises:
      MetadataError: There is no such pushed model; the message names the newest ones.
    """
    models = pushed_models(store)
    if not models:
        raise MetadataError(_no_pushed_model(store))
    kind, _, rest = str(pushed).partition(":")
    wanted = rest if kind in ("artifact", "model", "run") and rest else str(pushed)
    if wanted == "latest":
        return models[0]
    if isinstance(pushed, int):
        kind = "artifact"
    found: list[Artifact] = []
    # A text may be the name of several; the first kind wins.
    if kind not in ("artifact", "run"):
        found += pushed_as(models, wanted)
    if kind not in ("artifact", "model"):
        found += _of_run(store, models, wanted)
    if kind not in ("model", "run"):
        found += [a for a in models if str(a.id) == wanted]
    if found:
        return found[0]
    newest = ", ".join(f"{version_of(a) or 'unknown'} (artifact {a.id})" for a in models[:3])
    raise MetadataError(
        f"no pushed model '{wanted}' in {store.name}; the newest versions are {newest}; "
        "list them with: python -m lineage served"
    )


def _no_pushed_model(store: MetadataReader) -> str:
    """Returns the message for a store that has no pushed model, or does not record one."""
    blessed = any(
        a.properties.get(names.BLESSED) for a in store.artifacts_of_type(names.MODEL_BLESSING)
    )
    why = [] if blessed else ["none was blessed yet"]
    tried = any(map(was_made, store.artifacts_of_type(names.PUSHED_MODEL)))
    why.append("its Pushers pushed none" if tried else "no push is recorded")
    return (
        f"{store.name} has no pushed model: {', and '.join(why)}; "
        "see why with: python -m lineage show latest"
    )


def _of_run(store: MetadataReader, models: list[Artifact], wanted: str) -> list[Artifact]:
    """Returns the models that a run pushed."""
    if wanted not in store.run_ids():
        return []
    run = store.run(wanted)
    made = {i for e in run.components for ids in e.outputs.values() for i in ids}
    return [a for a in models if a.id in made]


def _blessing(artifact: Artifact | None) -> Blessing | None:
    if artifact is None:
        return None
    properties = artifact.properties
    return Blessing(
        artifact=artifact,
        blessed=bool(properties[names.BLESSED]) if names.BLESSED in properties else None,
        current_model_id=properties.get(names.CURRENT_MODEL_ID),
        baseline_model_id=properties.get(names.BASELINE_MODEL_ID),
    )


def _datasets(store: MetadataReader, graph: Graph) -> tuple[Dataset, ...]:
    """Returns the Examples that came from outside, without those that Transform made."""
    examples = graph.of_type(names.EXAMPLES)
    ids = {artifact.id for artifact in examples}
    derived = {
        edge.execution_id
        for edge in graph.edges
        if edge.kind == "input" and edge.artifact_id in ids
    }
    makers_of = {artifact.id: graph.maker(artifact.id) for artifact in examples}
    roots = [a for a in examples if (maker := makers_of[a.id]) is None or maker.id not in derived]
    return tuple(dataset_of(store, artifact, makers_of[artifact.id]) for artifact in roots)


def dataset_of(store: MetadataReader, examples: Artifact, maker: Execution | None) -> Dataset:
    """Reads examples together with the artifacts that belong to them."""
    return read_dataset(
        examples,
        maker,
        quarantine=output_of(store, maker, names.QUARANTINED_RECORDS),
        statistics=_made_of(store, examples, names.EXAMPLE_STATISTICS),
    )


def _made_of(store: MetadataReader, examples: Artifact, type_name: str) -> tuple[Artifact, ...]:
    """Returns the artifacts of a type that were made of examples directly, newest first."""
    made = store.artifacts(edge.artifact_id for edge in products(store, [examples.id]))
    found = [artifact for artifact in made.values() if artifact.type == type_name]
    return tuple(sorted(found, key=lambda a: a.id, reverse=True))
