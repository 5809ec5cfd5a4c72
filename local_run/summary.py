"""Makes run_summary.json from ML Metadata and the evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from components.evaluator.evaluation_files import Verdict, read_evaluation, read_verdict
from components.trainer.training_files import read_training
from components.tree_baseline.result_files import read_comparison
from local_run.best_reachable import best_reachable
from metadata import names
from metadata.reader import Artifact, MetadataReader, Run
from pipeline.config import PipelineConfig

# These come first, then the others by name.
_FIRST = ("auc", "grouped_auc", "auc_pr", "log_loss", "calibration", "ece", "accuracy", "macro_auc")
_COUNTS = ("example_count", "negatives")  # already in the row counts
_T = TypeVar("_T")
_NOT_EVALUATED: dict[str, Any] = {"metrics": {}, "intervals": {}}


def summarize(
    config: PipelineConfig,
    store: MetadataReader,
    run_id: str,
    measured: dict[str, Any],
    peaks: Mapping[str, int],
) -> dict[str, Any]:
    """Describes a run that has ended, complete or failed.

    Args:
      config: Config of the run.
      store: ML Metadata store with the run.
      run_id: Id of the run.
      measured: `state`, `seconds`, `peak_mib` and `error`, as the runner measured them.
      peaks: Component -> peak memory in MiB while it ran.
    """
    run = store.run(run_id)
    examples = _output(store, run, names.EXAMPLES, "SparkExampleGen")
    evaluation = _output(store, run, names.MODEL_EVALUATION)
    blessing = _output(store, run, names.MODEL_BLESSING)
    canary = _output(store, run, names.INFRA_BLESSING)
    pushed = _output(store, run, names.PUSHED_MODEL)
    verdict = read_verdict(evaluation.uri) if evaluation else Verdict()
    return {
        "pipeline": config.name,
        "run_id": run_id,
        "span": examples.properties.get(names.SPAN) if examples else None,
        **measured,
        "components": [
            {
                "id": e.component,
                "state": e.state,
                "seconds": round(e.seconds, 1),
                "peak_mib": peaks.get(e.component),
            }
            for e in run.components
        ],
        "rows": _rows(examples) if examples else {},
        "training": _training(_output(store, run, names.MODEL_RUN)),
        **(_evaluated(config, examples, evaluation) if examples and evaluation else _NOT_EVALUATED),
        "trees": _trees(_output(store, run, names.TREE_COMPARISON)),
        "blessed": _blessed(blessing),
        "not_blessed_because": [*verdict.reasons],
        "telling_features": [*verdict.telling],
        "canary": _canary(canary) if canary else None,
        "pushed_model": pushed.properties.get(names.PUSHED_DESTINATION) if pushed else None,
    }


def _training(model_run: Artifact | None) -> dict[str, Any] | None:
    """Returns the number of rows, and the parameters chosen by it; None if unknown."""
    found = read_training(model_run.uri) if model_run else None
    return None if found is None else {**dataclasses.asdict(found), "problem": found.problem}


def _trees(comparison: Artifact | None) -> dict[str, Any] | None:
    """Returns what `trainer.baseline` measured; None without it."""
    found = read_comparison(comparison.uri) if comparison else None
    if found is None:
        return None
    kept = ("split", "judged_rows", "rows", "learned_rows", "iterations")
    return {
        "metrics": _in_order(found.metrics),
        "intervals": {name: [*bounds] for name, bounds in found.intervals.items()},
        **{name: getattr(found, name) for name in kept},
        "notes": [*found.notes],
    }


def _blessed(blessing: Artifact | None) -> bool | None:
    """Returns the Evaluator's verdict; None if it judged no model."""
    found = blessing.properties.get(names.BLESSED) if blessing else None
    return None if found is None else bool(found)


def _canary(blessing: Artifact) -> dict[str, Any]:
    """Returns whether a server answered correctly with the model, and the reason if not."""
    properties = blessing.properties
    return {"blessed": bool(properties.get(names.BLESSED)), "reason": properties.get("reason")}


def _output(
    store: MetadataReader, run: Run, artifact_type: str, component: str | None = None
) -> Artifact | None:
    """Returns the newest output of a type that the run made or took from the cache."""
    ids = [
        artifact_id
        for execution in run.components
        if execution.state in ("complete", "cached")
        and (component is None or execution.component == component)
        for ids in execution.outputs.values()
        for artifact_id in ids
    ]
    # Resolvers output artifacts of other components; only the component itself counts.
    found = [a for a in store.artifacts(ids).values() if a.type == artifact_type]
    return max(found, key=lambda a: a.id, default=None)


def _rows(examples: Artifact) -> dict[str, int]:
    """Returns row counts by name: read, the splits, quarantined, dropped."""
    counts = {
        name[len(names.ROWS) :]: value
        for name, value in examples.properties.items()
        if name.startswith(names.ROWS) and isinstance(value, int)
    }
    splits = [name for name in counts if name not in ("read", "quarantined", "dropped")]
    order = ["read", *sorted(splits, key=lambda s: (s != "train", s)), "quarantined", "dropped"]
    return {name: counts[name] for name in order if name in counts}


def _evaluated(config: PipelineConfig, examples: Artifact, evaluation: Artifact) -> dict[str, Any]:
    """Returns `metrics` and `intervals` of the evaluation, with the best reachable metrics."""
    metrics, intervals = overall_metrics(evaluation.uri)
    if config.truth and metrics:
        truth = sorted(Path(config.data_root).glob(config.truth.files))
        split = Path(examples.uri) / f"Split-{config.split.judged}"
        best = best_reachable(
            split, truth, config.truth.key, config.evaluator.label, config.truth.probability
        )
        if best:
            metrics |= best
            for name in ("auc", "auc_pr"):
                if name in metrics:
                    share = metrics[name] / best[f"best_reachable_{name}"]
                    metrics[f"{name}_of_best_reachable"] = share
    return {"metrics": metrics, "intervals": intervals}


def overall_metrics(uri: str) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Returns a ModelEvaluation's overall metrics, and their 95 % intervals [low, high].

    An undefined metric (AUC of one class, NaN) is left out.
    """
    evaluation = read_evaluation(uri)
    overall = evaluation.overall if evaluation else None
    known = overall.metrics if overall else {}
    found = _in_order(known)
    metrics = {name: metric.value for name, metric in found.items()}
    intervals = {
        name: [metric.low, metric.high]
        for name, metric in found.items()
        if metric.low is not None and metric.high is not None
    }
    return metrics, intervals


def _in_order(known: Mapping[str, _T]) -> dict[str, _T]:
    """Returns metrics, the most important ones first, without counts of rows."""
    order = [name for name in _FIRST if name in known]
    order += sorted(known.keys() - {*_FIRST, *_COUNTS})
    return {name: known[name] for name in order}
