"""Our metrics as TFMA metrics, which share one pass over the examples of a slice."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from numpy.typing import NDArray
from tensorflow_model_analysis.constants import BASELINE_KEY
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.proto import config_pb2, metrics_for_slice_pb2

from base.model_outputs import DECISION
from tabular.decision_rule import Costs
from tabular.feature_set import TaskName
from tabular.metrics import classification
from tabular.metrics.evaluated_model import EvaluatedModel
from tabular.metrics.intervals import interval, resampled
from tabular.metrics.metric_names import (
    EXAMPLES,
    HIGH,
    LOW,
    NEGATIVES,
    POSITIVES,
    RAREST,
    metric_name,
)
from tabular.metrics.multiclass import ClassCounts
from tabular.metrics.regression import ErrorSums
from tabular.metrics.scores import ScoreCounts

PLOT = "calibration_plot"
_PLOTTED = 100  # groups of equally many examples
_AT_ONCE = 4096  # examples per count
_PARTS = 64  # counts per merge
_Numbers = tuple[float, ...]  # label, weight and the scores of an example
_KINDS: Mapping[TaskName, Any] = {
    "binary": ScoreCounts,
    "multiclass": ClassCounts,
    "regression": ErrorSums,
}
# TFMA writes no metric whose name begins with an underscore.
_GATHERED: Mapping[TaskName, str] = {
    "binary": "_scores",
    "multiclass": "_classes",
    "regression": "_errors",
}
_DECISIONS = "_decisions"
_RESAMPLED = "_resampled"  # begins the name of the replicates of what is gathered
# Name of a Count -> attribute of what is gathered.
_COUNTS = {
    EXAMPLES: "examples",
    POSITIVES: "positives",
    NEGATIVES: "negatives",
    RAREST: "rarest",
}


class ExactMetric(metric_types.Metric):
    """A metric and the bounds of its interval.

    Args:
      name: Name of the metric, as in `evaluator.metrics`; see metric_names.py.
      intervals: Whether to compute NAME/low and NAME/high too.
      task: Task of the model, as in FeatureSet.task.
      classes: Names of the classes of a multiclass model.
      costs: Fields of the Costs of a decision, for decision_cost; empty for other metrics.
    """

    def __init__(
        self,
        name: str,
        intervals: bool = True,
        task: TaskName = "binary",
        classes: Sequence[str] = (),
        costs: Mapping[str, float] = types.MappingProxyType({}),
    ):
        if task not in metric_name(name).tasks:
            raise ValueError(f"{name} is no metric of a {task} task")
        super().__init__(
            metric_util.merge_per_key_computations(_metric),
            name=name,
            intervals=intervals,
            task=task,
            classes=classes,
            **({"costs": dict(costs)} if costs else {}),
        )


class Count(metric_types.Metric):
    """The number of examples with a weight above 0, of all or of one label.

    Args:
      name: EXAMPLES; of a binary task also POSITIVES and NEGATIVES; of a multiclass task also
        RAREST, the number of the class that has the fewest.
      task: Task of the model, as in FeatureSet.task.
      classes: Names of the classes of a multiclass model.
    """

    def __init__(self, name: str, task: TaskName = "binary", classes: Sequence[str] = ()):
        super().__init__(
            metric_util.merge_per_key_computations(_count), name=name, task=task, classes=classes
        )


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
    task: TaskName,
    classes: Sequence[str],
    costs: Mapping[str, float] | None = None,
    eval_config: config_pb2.EvalConfig | None = None,
    model_name: str = "",
    output_name: str = "",
    example_weighted: bool = False,
) -> metric_types.MetricComputations:
    model = EvaluatedModel(eval_config, model_name, output_name, example_weighted)
    wanted = metric_name(name)
    key, low, high = (model.key(name + end) for end in ("", LOW, HIGH))
    keys = [key, low, high] if intervals else [key]
    needed = _decided(model) if wanted.is_of_decision else _gathered(model, task, classes)
    (gathered,) = needed[0].keys
    if task == "binary":
        replicates = model.key(_RESAMPLED + gathered.name)
        prices = Costs(**costs) if costs else None

        def result(metrics: dict[Any, Any]) -> dict[Any, float]:
            value = float(classification.metric_value(wanted, metrics[gathered], prices))
            bounds = interval(wanted, value, metrics[replicates], prices) if intervals else ()
            return dict(zip(keys, (value, *bounds), strict=True))

        needed += [_resampled(gathered, replicates)] if intervals else []
    else:
        more = (classes,) if task == "multiclass" else ()

        def result(metrics: dict[Any, Any]) -> dict[Any, float]:
            sums = metrics[gathered]
            bounds = sums.interval(wanted, *more) if intervals else ()
            return dict(zip(keys, (sums.value(wanted, *more), *bounds), strict=True))

    return [*needed, metric_types.DerivedMetricComputation(keys, result)]


def _count(
    name: str,
    task: TaskName,
    classes: Sequence[str],
    eval_config: config_pb2.EvalConfig | None = None,
    model_name: str = "",
    output_name: str = "",
    example_weighted: bool = False,
) -> metric_types.MetricComputations:
    model = EvaluatedModel(eval_config, model_name, output_name, example_weighted)
    key, gathered = model.key(name), model.key(_GATHERED[task])

    def result(metrics: dict[Any, Any]) -> dict[Any, float]:
        return {key: float(getattr(metrics[gathered], _COUNTS[name]))}

    needed = _gathered(model, task, classes)
    return [*needed, metric_types.DerivedMetricComputation([key], result)]


def _plot(
    name: str,
    eval_config: config_pb2.EvalConfig | None = None,
    model_name: str = "",
    output_name: str = "",
    example_weighted: bool = False,
) -> metric_types.MetricComputations:
    model = EvaluatedModel(eval_config, model_name, output_name, example_weighted)
    key, scores = model.key(name, metric_types.PlotKey), model.key(_GATHERED["binary"])

    def result(metrics: dict[Any, Any]) -> dict[Any, Any]:
        return {key: _buckets(metrics[scores])}

    return [*_gathered(model, "binary"), metric_types.DerivedMetricComputation([key], result)]


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


def _gathered(
    model: EvaluatedModel, task: TaskName, classes: Sequence[str] = ()
) -> metric_types.MetricComputations:
    key = model.key(_GATHERED[task])
    return [metric_types.MetricComputation([key], None, _Gather(model, task, len(classes) or 1))]


def _decided(model: EvaluatedModel) -> metric_types.MetricComputations:
    key = model.key(_DECISIONS)
    return [metric_types.MetricComputation([key], None, _GatherDecisions(model, "binary"))]


def _resampled(
    gathered: metric_types.MetricKey, key: metric_types.MetricKey
) -> metric_types.DerivedMetricComputation:
    def result(metrics: dict[Any, Any]) -> dict[Any, ScoreCounts | None]:
        return {key: resampled(metrics[gathered])}

    return metric_types.DerivedMetricComputation([key], result)


@dataclasses.dataclass
class _Gathered:
    """The examples of a slice, partly counted.

    Attributes:
      waiting: Label, weight and scores of the newest examples.
      chunks: Earlier examples, arrays [2 + outputs, examples].
      parts: ScoreCounts, ClassCounts or ErrorSums of the earliest examples.
      problem: Description of an example's fault; None without one.
    """

    waiting: list[_Numbers] = dataclasses.field(default_factory=list)
    chunks: list[NDArray[np.float64]] = dataclasses.field(default_factory=list)
    parts: list[Any] = dataclasses.field(default_factory=list)
    problem: str | None = None


class _Gather(beam.CombineFn):
    """Turns the examples of a slice into ScoreCounts, ClassCounts or ErrorSums.

    It works in batches, because numpy is slow on single numbers. `add_input` raises nothing,
    because TFMA would replace the error by its own, without the cause.
    """

    def __init__(self, model: EvaluatedModel, task: TaskName, outputs: int = 1):
        self._model, self._name, self._kind = model, _GATHERED[task], _KINDS[task]
        self._outputs = outputs

    def create_accumulator(self) -> _Gathered:
        return _Gathered()

    def add_input(
        self, gathered: _Gathered, example: metric_types.StandardMetricInputs
    ) -> _Gathered:
        try:
            gathered.waiting.extend(self._numbers(example))
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
        counted = self._counted(np.concatenate(chunks, axis=1))
        parts = [*gathered.parts, counted]
        return self._merged(parts) if len(parts) > _PARTS else _Gathered(parts=parts)

    def extract_output(self, gathered: _Gathered) -> dict[metric_types.MetricKey, Any]:
        parts = self._merged(self.compact(gathered).parts).parts
        found = parts[0] if parts else self._counted(np.empty((2 + self._outputs, 0)))
        return {self._model.key(self._name): found}

    def _counted(self, columns: NDArray[np.float64]) -> Any:
        labels, weights, *scores = columns
        is_one = self._kind is not ClassCounts
        return self._kind.count(labels, scores[0] if is_one else np.stack(scores, axis=1), weights)

    def _numbers(self, example: metric_types.StandardMetricInputs) -> list[_Numbers]:
        """Returns the numbers of an example, in a list; empty of a baseline with other classes."""
        label, scores, weight = self._model.read(example)
        if label.size != 1 or scores.size != self._outputs:
            if self._model.model_name == BASELINE_KEY and self._outputs > 1 and scores.size > 1:
                return []
            number = "one score" if self._outputs == 1 else f"{self._outputs} scores"
            raise ValueError(
                f"each example must have one label and {number} (evaluator.label and "
                f"evaluator.prediction). Received: {label.size} and {scores.size}"
            )
        return [(label.item(), weight.item(), *np.ravel(scores).tolist())]

    def _merged(self, parts: list[Any]) -> _Gathered:
        return _Gathered(parts=[self._kind.merge(parts)] if parts else [])


class _GatherDecisions(_Gather):
    """Counts the labels by the output `decision`, which is 0 or 1, in place of the score."""

    def __init__(self, model: EvaluatedModel, task: TaskName):
        super().__init__(model, task)
        self._name = _DECISIONS

    def _numbers(self, example: metric_types.StandardMetricInputs) -> list[_Numbers]:
        """Returns the numbers of an example, in a list; empty of a baseline without decisions."""
        decision = self._model.decision(example)
        if decision is None and self._model.model_name == BASELINE_KEY:
            return []
        if decision is None or decision.size != 1:
            raise ValueError(
                f"each example must have one {DECISION} of the model, which trainer.decision adds. "
                f"Received: {0 if decision is None else decision.size}. Train the model again"
            )
        label, _, weight = self._model.read(example)
        return [(label.item(), weight.item(), decision.item())]
