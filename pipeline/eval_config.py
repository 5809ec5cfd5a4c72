"""Builds TFMA's EvalConfig from the section `evaluator` of a config."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2

from pipeline.evaluator_section import Bound, Evaluator
from tabular.decision_rule import Costs
from tabular.metrics import grouped, tfma_metrics
from tabular.metrics.metric_names import (
    DECISION_COST,
    EXAMPLES,
    HIGHER,
    NEGATIVES,
    POSITIVES,
    RAREST,
    MetricName,
)


def eval_config(
    wanted: Evaluator, classes: Sequence[str] = (), costs: Costs | None = None
) -> config_pb2.EvalConfig:
    """Returns an EvalConfig with metrics on every slice, and bounds on their own slices.

    Args:
      wanted: Section of the config.
      classes: Names of the classes; used of a multiclass task only.
      costs: Costs of a decision, for decision_cost; None without any.
    """
    result = config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(
                signature_name="serving_default",
                prediction_key=wanted.prediction,
                label_key=wanted.label,
                example_weight_key=wanted.weight or "",
                model_type=tfma.constants.TF_GENERIC,
            )
        ],
        slicing_specs=[config_pb2.SlicingSpec(), *_slices(wanted)],
        metrics_specs=[config_pb2.MetricsSpec(metrics=_metrics(wanted, classes, costs))],
    )
    if wanted.weight:  # set to false, TFMA computes nothing at all
        result.metrics_specs[0].example_weights.weighted = True
    for group, names in wanted.grouped.items():
        spec = result.metrics_specs.add(query_key=group)
        for name in names:
            thresholds = _thresholds(wanted, name)
            options = {"name": str(name), "intervals": wanted.confidence_intervals}
            spec.metrics.append(_metric("GroupedMetric", grouped.__name__, thresholds, **options))
        if wanted.weight:
            spec.example_weights.weighted = True
    return result


def _slices(wanted: Evaluator) -> list[config_pb2.SlicingSpec]:
    """Returns the requested slices and the slices with bounds.

    They have only feature names, because TFMA reads a text that looks like a number as a number.
    """
    names = [*map(frozenset, wanted.slices), *(frozenset(one) for one in _judged_slices(wanted))]
    unique = [names for names in dict.fromkeys(names) if names]
    return [config_pb2.SlicingSpec(feature_keys=sorted(names)) for names in unique]


def _judged_slices(wanted: Evaluator) -> list[dict[str, str | int]]:
    """Returns the slices with bounds, each once; {} is all examples."""
    slices = [{}, *(bound.slice for name in wanted.judged for bound in wanted.bounds(name))]
    return [one for number, one in enumerate(slices) if one not in slices[:number]]


def _slice(values: dict[str, str | int]) -> config_pb2.SlicingSpec:
    return config_pb2.SlicingSpec(feature_values={name: str(v) for name, v in values.items()})


def _metrics(
    wanted: Evaluator, classes: Sequence[str], costs: Costs | None
) -> list[config_pb2.MetricConfig]:
    ours = tfma_metrics.__name__
    of_task = {"task": wanted.task, **({"classes": [*classes]} if _is_multiclass(wanted) else {})}
    result = [
        _metric(
            "ExactMetric",
            ours,
            _thresholds(wanted, name),
            name=str(name),
            intervals=wanted.confidence_intervals,
            **of_task,
            **({"costs": costs.model_dump()} if costs and name.kind == DECISION_COST else {}),
        )
        for name in wanted.measured
    ]
    for name, least in _least(wanted).items():
        enough = [] if least is None else _enough(wanted, least)
        result.append(_metric("Count", ours, enough, name=name, **of_task))
    if wanted.task == "binary":
        result.append(_metric("ScorePlot", ours))
    if _is_multiclass(wanted):
        result.append(_metric("MultiClassConfusionMatrixPlot"))  # TFMA's own
    return result


def _is_multiclass(wanted: Evaluator) -> bool:
    return wanted.task == "multiclass"


def _least(wanted: Evaluator) -> dict[str, int | None]:
    """Returns what is counted -> the least number for a model to be blessed; None for no limit."""
    if wanted.task == "binary":
        return {
            POSITIVES: wanted.min_positives,
            NEGATIVES: wanted.min_positives,
            EXAMPLES: None,
        }
    if wanted.task == "multiclass":
        return {RAREST: wanted.min_positives, EXAMPLES: None}
    return {EXAMPLES: wanted.min_examples}


_Threshold = tuple[config_pb2.SlicingSpec, config_pb2.MetricThreshold]


def _enough(wanted: Evaluator, least: int) -> list[_Threshold]:
    """Requires at least `least` examples in each slice with a bound."""
    threshold = config_pb2.MetricThreshold()
    threshold.value_threshold.lower_bound.value = least
    return [(_slice(one), threshold) for one in _judged_slices(wanted)]


def _thresholds(wanted: Evaluator, name: MetricName) -> list[_Threshold]:
    return [
        (_slice(bound.slice), _threshold(bound, name))
        for bound in wanted.bounds(name)
        if bound.is_absolute or bound.against_baseline
    ]


def _threshold(bound: Bound, name: MetricName) -> config_pb2.MetricThreshold:
    result = config_pb2.MetricThreshold()
    if bound.min is not None:
        result.value_threshold.lower_bound.value = bound.min
    if bound.max is not None:
        result.value_threshold.upper_bound.value = bound.max
    if bound.against_baseline:
        change = result.change_threshold
        higher = name.better == HIGHER
        direction = config_pb2.MetricDirection
        change.direction = direction.HIGHER_IS_BETTER if higher else direction.LOWER_IS_BETTER
        sign = -1 if higher else 1
        if bound.max_worse is not None:
            change.absolute.value = sign * bound.max_worse
        if bound.max_worse_percent is not None:
            change.relative.value = sign * bound.max_worse_percent / 100
    return result


def _metric(
    class_name: str,
    module: str = "",
    thresholds: list[_Threshold] | None = None,
    **options: Any,
) -> config_pb2.MetricConfig:
    result = config_pb2.MetricConfig(
        class_name=class_name, module=module, config=json.dumps(options)
    )
    for slicing, threshold in thresholds or []:
        result.per_slice_thresholds.add(slicing_specs=[slicing], threshold=threshold)
    return result
