"""Our metrics as TFMA metrics, which share one pass over the examples of a slice."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import numpy as np
from numpy.typing import NDArray
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.proto import config_pb2, metrics_for_slice_pb2

from tabular.metrics import classification
from tabular.metrics.evaluated_model import EvaluatedModel
from tabular.metrics.intervals import interval, resampled
from tabular.metrics.metric_names import (
    CLASSIFICATION,
    EXAMPLES,
    HIGH,
    LOW,
    NEGATIVES,
    POSITIVES,
    metric_name,
)
from tabular.metrics.regression import ErrorSums
from tabular.metrics.scores import ScoreCounts

PLOT = "calibration_plot"
_PLOTTED = 100  # groups of equally many examples
_AT_ONCE = 4096  # examples per count
_PARTS = 64  # counts per merge
_Numbers = tuple[float, float, float]
# TFMA writes no metric whose name begins with an underscore.
_SCORES, _RESAMPLED, _ERRORS = "_scores", "_resampled_scores", "_errors"


class ExactMetric(metric_types.Metric):
    """A metric of classification or regression, and the bounds of its interval.

    Args:
      name: Name of the metric, as in `evaluator.metrics`; see metric_names.py.
      intervals: Whether to compute NAME/low and NAME/high too.
    """

    def __init__(self, name: str, intervals: bool = True):
        metric_name(name)
        super().__init__(
            metric_util.merge_per_key_computations(_metric), name=name, intervals=intervals
        )


class Count(metric_types.Metric):
    """The number of examples with a weight above 0, with any label or with one label.

    Args:
      name: EXAMPLES, POSITIVES or NEGATIVES.
      task: Task of the other metrics, CLASSIFICATION or REGRESSION.
    """

    def __init__(self, name: str, task: str = CLASSIFICATION):
        super().__init__(metric_util.merge_per_key_computations(_count), name=name, task=task)


class ScorePlot(metric_types.Metric):
    """TFMA's calibration plot over groups of equally many examples.

    TFMA's own groups have equal width, so nearly all examples of a rare event are in the first one.
    """

    def __init__(self, name: str = PLOT):
        super().__init__(metric_util.merge_per_key_computations(_plot), name=name)


for _class in (ExactMetric, Count, ScorePlot):
    metric_types.register_metric(_class)


def _metric(
    name: str,
    intervals: bool,
    eval_config: config_pb2.EvalConfig | None = None,
    model_name: str = "",
    output_name: str = "",
    example_weighted: bool = False,
) -> metric_types.MetricComputations:
    model = EvaluatedModel(eval_config, model_name, output_name, example_weighted)
    wanted = metric_name(name)
    key, low, high = (model.key(name + end) for end in ("", LOW, HIGH))
    keys = [key, low, high] if intervals else [key]
    if wanted.task == CLASSIFICATION:
        scores, replicates = model.key(_SCORES), model.key(_RESAMPLED)

        def result(metrics: dict[Any, Any]) -> dict[Any, float]:
            value = float(classification.metric_value(wanted, metrics[scores]))
            bounds = interval(wanted, value, metrics[replicates]) if intervals else ()
            return dict(zip(keys, (value, *bounds), strict=True))

        needed = [*_gathered_scores(model), *([_resampled_scores(model)] if intervals else [])]
    else:
        errors = model.key(_ERRORS)

        def result(metrics: dict[Any, Any]) -> dict[Any, float]:
            sums = metrics[errors]
            bounds = sums.interval(wanted) if intervals else ()
            return dict(zip(keys, (sums.value(wanted), *bounds), strict=True))

        needed = [*_gathered_errors(model)]
    return [*needed, metric_types.DerivedMetricComputation(keys, result)]


def _count(
    name: str,
    task: str,
    eval_config: config_pb2.EvalConfig | None = None,
    model_name: str = "",
    output_name: str = "",
    example_weighted: bool = False,
) -> metric_types.MetricComputations:
    model = EvaluatedModel(eval_config, model_name, output_name, example_weighted)
    of_scores = task == CLASSIFICATION
    key, gathered = model.key(name), model.key(_SCORES if of_scores else _ERRORS)
    needed = _gathered_scores(model) if of_scores else _gathered_errors(model)

    def result(metrics: dict[Any, Any]) -> dict[Any, float]:
        counts = metrics[gathered]
        numbers = {EXAMPLES: "examples", POSITIVES: "positives", NEGATIVES: "negatives"}
        return {key: float(getattr(counts, numbers[name]))}

    return [*needed, metric_types.DerivedMetricComputation([key], result)]


def _plot(
    name: str,
    eval_config: config_pb2.EvalConfig | None = None,
    model_name: str = "",
    output_name: str = "",
    example_weighted: bool = False,
) -> metric_types.MetricComputations:
    model = EvaluatedModel(eval_config, model_name, output_name, example_weighted)
    key, scores = model.key(name, metric_types.PlotKey), model.key(_SCORES)

    def result(metrics: dict[Any, Any]) -> dict[Any, Any]:
        return {key: _buckets(metrics[scores])}

    return [*_gathered_scores(model), metric_types.DerivedMetricComputation([key], result)]


def _buckets(counts: ScoreCounts) -> metrics_for_slice_pb2.CalibrationHistogramBuckets:
    weight = counts.positive + counts.negative
    number = ((np.cumsum(weight) - weight) * _PLOTTED / max(weight.sum(), 1e-300)).astype(int)
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    ends = [*counts.score[starts[1:]], float("inf")]
    sums = (np.add.reduceat(v, starts) for v in (weight, weight * counts.score, counts.positive))
    result = metrics_for_slice_pb2.CalibrationHistogramBuckets()
    for start, end, rows, scores, positives in zip(counts.score[starts], ends, *sums, strict=True):
        result.buckets.add(
            lower_threshold_inclusive=start,
            upper_threshold_exclusive=end,
            num_weighted_examples={"value": rows},
            total_weighted_refined_prediction={"value": scores},
            total_weighted_label={"value": positives},
        )
    return result


def _gathered_scores(model: EvaluatedModel) -> metric_types.MetricComputations:
    key = model.key(_SCORES)
    return [metric_types.MetricComputation([key], None, _Gather(model, _SCORES, ScoreCounts))]


def _gathered_errors(model: EvaluatedModel) -> metric_types.MetricComputations:
    key = model.key(_ERRORS)
    return [metric_types.MetricComputation([key], None, _Gather(model, _ERRORS, ErrorSums))]


def _resampled_scores(model: EvaluatedModel) -> metric_types.DerivedMetricComputation:
    scores, key = model.key(_SCORES), model.key(_RESAMPLED)

    def result(metrics: dict[Any, Any]) -> dict[Any, ScoreCounts | None]:
        return {key: resampled(metrics[scores])}

    return metric_types.DerivedMetricComputation([key], result)


@dataclasses.dataclass
class _Gathered:
    """The examples of a slice, partly counted.

    Attributes:
      waiting: Label, score and weight of the newest examples.
      chunks: Earlier examples, arrays [3, examples].
      parts: ScoreCounts or ErrorSums of the earliest examples.
      problem: Description of an example's fault; None without one.
    """

    waiting: list[_Numbers] = dataclasses.field(default_factory=list)
    chunks: list[NDArray[np.float64]] = dataclasses.field(default_factory=list)
    parts: list[Any] = dataclasses.field(default_factory=list)
    problem: str | None = None


class _Gather(beam.CombineFn):
    """Turns the examples of a slice into ScoreCounts or ErrorSums.

    It works in batches, because numpy is slow on single numbers. `add_input` raises nothing,
    because TFMA would replace the error by its own, without the cause.
    """

    def __init__(self, model: EvaluatedModel, name: str, kind: type[ScoreCounts] | type[ErrorSums]):
        self._model, self._name, self._kind = model, name, kind

    def create_accumulator(self) -> _Gathered:
        return _Gathered()

    def add_input(
        self, gathered: _Gathered, example: metric_types.StandardMetricInputs
    ) -> _Gathered:
        try:
            gathered.waiting.append(self._numbers(example))
        except ValueError as error:
            gathered.problem = str(error)
        if len(gathered.waiting) >= _AT_ONCE:
            gathered.chunks.append(np.array(gathered.waiting, np.float64).T)
            gathered.waiting = []
        return gathered

    def merge_accumulators(self, accumulators: Iterable[_Gathered]) -> _Gathered:
        return self._merged([part for one in accumulators for part in self.compact(one).parts])

    def compact(self, gathered: _Gathered) -> _Gathered:
        if gathered.problem is not None:
            raise ValueError(gathered.problem)
        chunks = [*gathered.chunks]
        if gathered.waiting:
            chunks.append(np.array(gathered.waiting, np.float64).T)
        if not chunks:
            return gathered
        counted = self._kind.count(*np.concatenate(chunks, axis=1))
        parts = [*gathered.parts, counted]
        return self._merged(parts) if len(parts) > _PARTS else _Gathered(parts=parts)

    def extract_output(self, gathered: _Gathered) -> dict[metric_types.MetricKey, Any]:
        parts = self._merged(self.compact(gathered).parts).parts
        found = parts[0] if parts else self._kind.count(*np.empty((3, 0)))
        return {self._model.key(self._name): found}

    def _numbers(self, example: metric_types.StandardMetricInputs) -> _Numbers:
        label, score, weight = self._model.read(example)
        if label.size != 1 or score.size != 1:
            raise ValueError(
                "each example must have one label and one score (evaluator.label and "
                f"evaluator.prediction). Received: {label.size} and {score.size}"
            )
        return label.item(), score.item(), weight.item()

    def _merged(self, parts: list[Any]) -> _Gathered:
        return _Gathered(parts=[self._kind.merge(parts)] if parts else [])
