"""TFMA's EvalConfig from the section `evaluator` of a config."""

from __future__ import annotations

import json

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2

from pipeline.evaluation import calibration_error, grouped_auc
from pipeline.sections import Evaluator

# TFMA's default of 10,000 thresholds costs minutes and changes the fifth digit.
_THRESHOLDS = 1000
# For the run's report; counted with AUC's histogram, so that it costs a few kilobytes and no time.
_PLOTTED = 200


def eval_config(wanted: Evaluator) -> config_pb2.EvalConfig:
    """Metrics on every slice; thresholds on the whole, so that no tiny slice refuses a model."""
    result = config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(
                signature_name="serving_default",
                prediction_key=wanted.prediction,
                label_key=wanted.label,
                model_type=tfma.constants.TF_GENERIC,
            )
        ],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *[config_pb2.SlicingSpec(feature_keys=keys) for keys in wanted.slices],
        ],
        metrics_specs=[config_pb2.MetricsSpec(metrics=_metrics(wanted))],
    )
    if wanted.group:
        grouped = _metric("GroupedAUC", module=grouped_auc.__name__)
        result.metrics_specs.add(query_key=wanted.group, metrics=[grouped])
    if wanted.confidence_intervals:
        # The jackknife over 20 random parts adds little; the bootstrap takes 20 times as long.
        result.options.compute_confidence_intervals.value = True
        result.options.confidence_intervals.method = (
            config_pb2.ConfidenceIntervalOptions.ConfidenceIntervalMethod.JACKKNIFE
        )
    return result


def _metrics(wanted: Evaluator) -> list[config_pb2.MetricConfig]:
    low, high = wanted.calibration
    auc = config_pb2.MetricThreshold(
        value_threshold=config_pb2.GenericValueThreshold(lower_bound={"value": wanted.min_auc}),
        change_threshold=config_pb2.GenericChangeThreshold(
            absolute={"value": -wanted.max_auc_loss},
            direction=config_pb2.MetricDirection.HIGHER_IS_BETTER,
        ),
    )
    calibration = config_pb2.MetricThreshold(
        value_threshold=config_pb2.GenericValueThreshold(
            lower_bound={"value": low}, upper_bound={"value": high}
        )
    )
    return [
        _metric("AUC", threshold=auc, num_thresholds=_THRESHOLDS),
        _metric("Calibration", threshold=calibration),
        _metric("BinaryCrossentropy"),
        _metric("ExpectedCalibrationError", module=calibration_error.__name__),
        _metric("ExampleCount"),
        _metric("CalibrationPlot", num_buckets=_PLOTTED),
    ]


def _metric(
    name: str,
    module: str = "",
    threshold: config_pb2.MetricThreshold | None = None,
    **options: int,
) -> config_pb2.MetricConfig:
    result = config_pb2.MetricConfig(class_name=name, module=module, config=json.dumps(options))
    if threshold is not None:
        overall = [config_pb2.SlicingSpec()]
        result.per_slice_thresholds.add(slicing_specs=overall, threshold=threshold)
    return result
