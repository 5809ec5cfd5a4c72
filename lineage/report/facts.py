"""Collects everything that is known about a run: `gather(store, "latest", summaries)`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from base.shared_names import RUN_LOG, RUN_SUMMARY
from components.evaluator.evaluation_files import Evaluation, Verdict, read_evaluation, read_verdict
from components.trainer.training_files import TrainingFacts, read_training
from components.tree_baseline.result_files import read_comparison
from lineage.compare import run_before
from lineage.dataset import Dataset
from lineage.report.decision import Decision, read_decision
from lineage.report.log_sections import log_tails
from lineage.report.quarantine import RejectedRecord, read_rejected_records
from lineage.report.statistics import (
    Anomaly,
    Drift,
    Feature,
    has_anomalies,
    read_anomalies,
    read_statistics,
)
from lineage.report.training import Curve, read_curves
from lineage.trace import dataset_of
from metadata import names
from metadata.graph import Graph, ancestors, makers
from metadata.reader import MetadataReader
from metadata.records import Artifact, Execution, Run
from pipeline.run_summary import read_summary
from tabular.baseline.result import Comparison

_T = TypeVar("_T")
Features = dict[str, dict[str, Feature]]  # split -> name -> feature


@dataclasses.dataclass(frozen=True)
class RunFacts:
    """A run, and everything that its artifacts say.

    Attributes:
      store: Name of the store, for the page's footer.
      elsewhere: Whether the run was on other machines, so that no store here can be asked.
      run: The run in ML Metadata.
      summary: Its run_summary.json; {} if there is none.
      artifacts: Artifacts that its components read, made or picked, by id.
      made_by: Artifact id -> the execution that really made it, maybe of an earlier run.
      dataset: The examples it began with.
      refused: A sample of the records that the ETL rejected.
      features: Features of the examples.
      earlier_run: Id of the run before, for comparison; None if there was none.
      earlier: Features of that run's examples.
      anomalies, drift: Findings of ExampleValidator.
      validated: Whether ExampleValidator's files were read; without them anomalies are unknown.
      curves: Training curves.
      training: Size of the training; None if the Trainer did not write it.
      evaluation: Evaluation of the model.
      verdict: The Evaluator's verdict on the model.
      decision: Threshold of the model, and how it was chosen; None without one.
      trees: Metrics of trees on the same examples; None without trainer.baseline.
      logs: Component -> the end of its log.
      origin: What the pushed model (else the model) was made from; None without a model.
    """

    store: str
    elsewhere: bool
    run: Run
    summary: dict[str, Any]
    artifacts: dict[int, Artifact]
    made_by: dict[int, Execution]
    dataset: Dataset | None
    refused: list[RejectedRecord]
    features: Features
    earlier_run: str | None
    earlier: Features
    anomalies: list[Anomaly]
    drift: list[Drift]
    validated: bool
    curves: list[Curve]
    training: TrainingFacts | None
    evaluation: Evaluation | None
    verdict: Verdict
    decision: Decision | None
    trees: Comparison | None
    logs: dict[str, str]
    origin: Graph | None

    def newest(self, type_name: str) -> Artifact | None:
        """Returns the newest output of the run of this type; None without one."""
        return _newest(self.run, self.artifacts, type_name)

    def newest_property(self, type_name: str, name: str) -> Any:
        """Returns a property of the newest output of this type; None without one."""
        found = self.newest(type_name)
        return found.properties.get(name) if found else None

    def peak_mib(self, component: str) -> int | None:
        for entry in self.summary.get("components", []):
            if entry.get("id") == component:
                return entry.get("peak_mib")
        return None


def gather(
    store: MetadataReader,
    run_id: str,
    summaries: Path | None,
    places: Mapping[str, str] | None = None,
) -> RunFacts:
    """Reads everything that is known about a run.

    Args:
      store: Store to read.
      run_id: Id of the run, or 'latest'.
      summaries: Folder of <run_id>/ folders with run_summary.json and run.log; None: unknown.
      places: URI -> local copy, for the artifacts of a run on other machines.

    Raises:
      MetadataError: There is no such run.
    """
    run = store.run(run_id)
    artifacts = store.artifacts(run.touched)
    files = _Files(places or {})
    made = {edge.artifact_id: edge.execution_id for edge in makers(store, sorted(artifacts))}
    executions = store.executions(made.values())
    made_by = {i: executions[e] for i, e in made.items() if e in executions}
    examples = _external_examples(run, artifacts)
    earlier = run_before(store, run)
    nothing: tuple[list[Anomaly], list[Drift]] = ([], [])
    found = _newest(run, artifacts, names.EXAMPLE_ANOMALIES)
    anomalies, drift = files.read(found, read_anomalies, nothing)
    evaluation = _newest(run, artifacts, names.MODEL_EVALUATION)
    model = _newest(run, artifacts, names.PUSHED_MODEL) or _newest(run, artifacts, names.MODEL)
    folder = summaries / run.run_id if summaries else None
    return RunFacts(
        store=store.name,
        elsewhere=places is not None,
        run=run,
        summary=_summary(folder / RUN_SUMMARY) if folder else {},
        artifacts=artifacts,
        made_by=made_by,
        dataset=dataset_of(store, examples, made_by.get(examples.id)) if examples else None,
        refused=files.read(
            _newest(run, artifacts, names.QUARANTINED_RECORDS), read_rejected_records, []
        ),
        features=files.read(_newest(run, artifacts, names.EXAMPLE_STATISTICS), read_statistics, {}),
        earlier_run=earlier.run_id if earlier else None,
        earlier=_features_of(store, earlier) if earlier else {},
        anomalies=anomalies,
        drift=drift,
        validated=files.read(found, has_anomalies, False),
        curves=files.read(_newest(run, artifacts, names.MODEL_RUN), read_curves, []),
        training=files.read(_newest(run, artifacts, names.MODEL_RUN), read_training, None),
        evaluation=files.read(evaluation, read_evaluation, None),
        verdict=files.read(evaluation, read_verdict, Verdict()),
        decision=files.read(_newest(run, artifacts, names.DECISION), read_decision, None),
        trees=files.read(_newest(run, artifacts, names.TREE_COMPARISON), read_comparison, None),
        logs=log_tails(folder / RUN_LOG) if folder else {},
        origin=ancestors(store, [model.id]) if model else None,
    )


def _newest(run: Run, artifacts: dict[int, Artifact], type_name: str) -> Artifact | None:
    ids = [i for e in run.components for made in e.outputs.values() for i in made]
    found = [artifacts[i] for i in ids if i in artifacts]
    return max((a for a in found if a.type == type_name), key=lambda a: a.id, default=None)


def _external_examples(run: Run, artifacts: dict[int, Artifact]) -> Artifact | None:
    ids = [i for e in run.components if not e.inputs for made in e.outputs.values() for i in made]
    return next(
        (artifacts[i] for i in ids if i in artifacts and artifacts[i].type == names.EXAMPLES), None
    )


def _features_of(store: MetadataReader, run: Run) -> Features:
    found = _newest(run, store.artifacts(run.touched), names.EXAMPLE_STATISTICS)
    return read_statistics(found.uri) if found else {}


@dataclasses.dataclass(frozen=True)
class _Files:
    """Reads the files of an artifact, or of its local copy."""

    places: Mapping[str, str]

    def read(self, artifact: Artifact | None, reader: Callable[[str], _T], nothing: _T) -> _T:
        if artifact is None:
            return nothing
        return reader(self.places.get(artifact.uri, artifact.uri))


def _summary(path: Path) -> dict[str, Any]:
    """Returns the parts of a summary that the page needs, without values of a wrong type."""
    found = read_summary(path)
    if not found:
        return {}
    kinds = {"error": str, "peak_mib": int}
    kept: dict[str, Any] = {
        name: found[name] for name, kind in kinds.items() if isinstance(found.get(name), kind)
    }
    kept["metrics"] = _numbers(found.get("metrics"))
    components = found.get("components")
    kept["components"] = (
        [
            one
            for one in components
            if isinstance(one, dict) and isinstance(one.get("peak_mib"), int)
        ]
        if isinstance(components, list)
        else []
    )
    return kept


def _numbers(found: Any) -> dict[str, float]:
    named = found.items() if isinstance(found, dict) else ()
    return {name: value for name, value in named if isinstance(value, int | float)}
