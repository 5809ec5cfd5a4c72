"""TFMA's EvalConfig from the section `evaluator` of a config."""

from __future__ import annotations

import json

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2

from pipeline.evaluation import grouped_auc, tfma_metrics
from pipeline.evaluation.metric_names import (
    CLASSIFICATION,
    EXAMPLES,
    GROUPED_AUC,
    HIGHER,
    POSITIVES,
    MetricName,
    metric_name,
)
from pipeline.evaluator_section import Bound, Evaluator


def eval_config(wanted: Evaluator) -> config_pb2.EvalConfig:
    """Metrics on every slice; bounds on the slice that each names, or on all examples."""
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
        metrics_specs=[config_pb2.MetricsSpec(metrics=_metrics(wanted))],
    )
    if wanted.weight:  # set to false, TFMA computes nothing at all
        result.metrics_specs[0].example_weights.weighted = True
    if wanted.group:
        grouped = _metric(
            "GroupedAUC",
            grouped_auc.__name__,
            _thresholds(wanted, metric_name(GROUPED_AUC)),
            intervals=wanted.confidence_intervals,
        )
        result.metrics_specs.add(query_key=wanted.group, metrics=[grouped])
    return result


def _slices(wanted: Evaluator) -> list[config_pb2.SlicingSpec]:
    """Those that are asked for, and those that a bound is about."""
    asked = [config_pb2.SlicingSpec(feature_keys=keys) for keys in wanted.slices]
    known = {frozenset(keys) for keys in wanted.slices}
    judged = [
        _slice(bound)
        for name in wanted.judged
        for bound in wanted.bounds(name)
        if bound.slice and frozenset(bound.slice) not in known
    ]
    return [*asked, *judged]


def _slice(bound: Bound) -> config_pb2.SlicingSpec:
    values = {feature: str(value) for feature, value in bound.slice.items()}
    return config_pb2.SlicingSpec(feature_values=values)


def _metrics(wanted: Evaluator) -> list[config_pb2.MetricConfig]:
    ours = tfma_metrics.__name__
    result = [
        _metric(
            "ExactMetric",
            ours,
            _thresholds(wanted, name),
            name=str(name),
            intervals=wanted.confidence_intervals,
        )
        for name in wanted.measured
    ]
    if wanted.task == CLASSIFICATION:
        enough = config_pb2.MetricThreshold()
        enough.value_threshold.lower_bound.value = wanted.min_positives
        result += [
            _metric("ScoreCount", ours, [(config_pb2.SlicingSpec(), enough)], name=POSITIVES),
            _metric("ScoreCount", ours, name=EXAMPLES),
            _metric("ScorePlot", ours),
        ]
    else:
        result.append(_metric("ExampleCount"))
    return result


_Threshold = tuple[config_pb2.SlicingSpec, config_pb2.MetricThreshold]


def _thresholds(wanted: Evaluator, name: MetricName) -> list[_Threshold]:
    return [(_slice(bound), _threshold(bound, name)) for bound in wanted.bounds(name)]


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
    **options: str | bool,
) -> config_pb2.MetricConfig:
    result = config_pb2.MetricConfig(
        class_name=class_name, module=module, config=json.dumps(options)
    )
    for slicing, threshold in thresholds or []:
        result.per_slice_thresholds.add(slicing_specs=[slicing], threshold=threshold)
    return result
