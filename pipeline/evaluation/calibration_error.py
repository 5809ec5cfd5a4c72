"""Expected calibration error, from the histogram that TFMA makes for AUC anyway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tensorflow_model_analysis.metrics import calibration_histogram, metric_types, metric_util
from tensorflow_model_analysis.proto import config_pb2

NAME = "expected_calibration_error"


class ExpectedCalibrationError(metric_types.Metric):
    """Mean distance between predictions and events over groups of examples with like predictions.

    Groups hold about equally many examples (Nixon et al., "Measuring Calibration in Deep Learning"
    (2019), adaptive calibration error): of rare events, most predictions fall into the first of
    groups that are equally wide.

    Args:
      groups: how many.
      num_buckets: of the histogram over [0, 1]; the default is the one that TFMA's AUC makes,
        whatever its num_thresholds, so that each row is counted into one.
      name: of the metric.
    """

    def __init__(
        self,
        groups: int = 20,
        num_buckets: int = calibration_histogram.DEFAULT_NUM_BUCKETS,
        name: str = NAME,
    ):
        super().__init__(
            metric_util.merge_per_key_computations(_computations),
            groups=groups,
            num_buckets=num_buckets,
            name=name,
        )


metric_types.register_metric(ExpectedCalibrationError)


def _computations(
    groups: int,
    num_buckets: int,
    name: str,
    eval_config: config_pb2.EvalConfig | None = None,
    model_name: str = "",
    output_name: str = "",
    example_weighted: bool = False,
) -> metric_types.MetricComputations:
    key = metric_types.MetricKey(
        name, model_name=model_name, output_name=output_name, example_weighted=example_weighted
    )
    computations = calibration_histogram.calibration_histogram(
        num_buckets=num_buckets,
        left=0.0,
        right=1.0,
        eval_config=eval_config,
        model_name=model_name,
        output_name=output_name,
        example_weighted=example_weighted,
    )
    histogram = computations[-1].keys[-1]

    def result(metrics: dict[Any, Any]) -> dict[metric_types.MetricKey, float]:
        return {key: calibration_error(metrics[histogram], groups)}

    return [*computations, metric_types.DerivedMetricComputation(keys=[key], result=result)]


def calibration_error(histogram: Sequence[calibration_histogram.Bucket], groups: int) -> float:
    """Over groups of whole buckets, in the order of predictions; NaN without examples."""
    total = sum(bucket.weighted_examples for bucket in histogram)
    if not total:
        return float("nan")
    error = seen = difference = 0.0
    filled = 0
    for bucket in sorted(histogram, key=lambda bucket: bucket.bucket_id):
        difference += bucket.weighted_predictions - bucket.weighted_labels
        seen += bucket.weighted_examples
        if seen >= total * (filled + 1) / groups:
            error += abs(difference)
            difference = 0.0
            filled = int(seen * groups / total)
    return float((error + abs(difference)) / total)
