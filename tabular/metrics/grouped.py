"""Means of a metric within groups of examples, such as the examples of one user or one query."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import apache_beam as beam
import numpy as np
from numpy.typing import NDArray
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.proto import config_pb2

from tabular.metrics import classification
from tabular.metrics.evaluated_model import EvaluatedModel
from tabular.metrics.metric_names import GROUPED_AUC, HIGH, LOW, MetricName, metric_name
from tabular.metrics.ranking import LISTS
from tabular.metrics.scores import ScoreCounts, check_weights

_MIN_GROUPS = 30  # for an interval


class GroupedMetric(metric_types.Metric):
    """Mean of a metric within each group of `query_key`; groups without a value do not count.

    grouped_auc weights a group by the total weight of its examples (Zhou et al., "Deep Interest
    Network" (2018), section 6.2). ndcg and map weight all groups alike, or by the mean weight of
    their examples if there are weights.

    The metric is NaN if no group is left. In a slice, TFMA counts a group with all its examples as
    soon as one of them is in the slice. Slice by a property of the group, such as a user's country,
    and not by one that varies within it.

    Args:
      name: grouped_auc, ndcg_at_10_by_GROUP, map_by_GROUP ...; see metric_names.py.
      intervals: Whether to compute NAME/low and NAME/high, the bounds of a 95 % interval. It covers
        the variance between groups, because the examples of a group are alike.
    """

    def __init__(self, name: str = GROUPED_AUC, intervals: bool = True):
        metric_name(name)
        super().__init__(_computations, name=name, intervals=intervals)


metric_types.register_metric(GroupedMetric)


def _computations(
    name: str,
    intervals: bool,
    eval_config: config_pb2.EvalConfig | None = None,
    model_names: Iterable[str] = (),
    output_names: Iterable[str] = (),
    query_key: str = "",
    example_weighted: bool = False,
) -> metric_types.MetricComputations:
    if not query_key:
        raise ValueError(f"{name} needs a query_key, the feature that defines a group")
    names = [name, name + LOW, name + HIGH] if intervals else [name]
    computations = []
    for model in model_names or [""]:
        for output in output_names or [""]:
            evaluated = EvaluatedModel(eval_config, model, output, example_weighted)
            keys = [evaluated.key(one) for one in names]
            mean = _Mean(keys, evaluated, metric_name(name))
            computations.append(metric_types.MetricComputation(keys, None, mean))
    return computations


def value_of_group(
    name: MetricName,
    labels: NDArray[np.float64],
    scores: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> tuple[float, float]:
    """Returns the metric of a group and the group's weight.

    Args:
      name: grouped_auc, ndcg or map.
      labels, scores, weights: Examples of the group, [examples] each. Those of weight 0 do not
        count.

    Raises:
      ValueError: A label does not fit the metric, a score is not finite, or a weight is negative.
    """
    if name.kind == GROUPED_AUC:
        found = classification.auc(ScoreCounts.count(labels, scores, weights))
        return float(found), float(weights.sum())
    check_weights(weights)
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite numbers")
    counts = weights > 0
    if not counts.any():
        return np.nan, 0.0
    at = None if name.number is None else int(name.number)
    value = LISTS[name.kind](labels[counts].astype(float), scores[counts].astype(float), at)
    return value, float(weights[counts].mean())


class _Mean(beam.CombineFn):
    """Sums n, n * a, n^2, n^2 * a, n^2 * a^2 and 1 over groups of weight n and a value of a."""

    def __init__(
        self, keys: Sequence[metric_types.MetricKey], model: EvaluatedModel, name: MetricName
    ):
        self.keys, self.model, self.name = keys, model, name

    def create_accumulator(self) -> NDArray[np.float64]:
        return np.zeros(6)

    def add_input(
        self, sums: NDArray[np.float64], group: metric_types.StandardMetricInputs
    ) -> NDArray[np.float64]:
        labels, scores, weights = map(np.ravel, self.model.read(group))
        found, n = value_of_group(self.name, labels, scores, weights)
        if np.isnan(found):
            return sums
        terms: NDArray[np.float64] = np.array(
            [n, n * found, n**2, n**2 * found, (n * found) ** 2, 1]
        )
        return sums + terms

    def merge_accumulators(
        self, accumulators: Iterable[NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        return np.asarray(np.sum([*accumulators], axis=0))

    def extract_output(self, sums: NDArray[np.float64]) -> dict[metric_types.MetricKey, float]:
        n, total, squares, cross, square_sum, groups = sums
        mean = total / n if n else np.nan
        half = np.nan
        if groups >= _MIN_GROUPS:  # the variance of a ratio of sums over groups
            variance = square_sum - 2 * mean * cross + mean**2 * squares
            half = 1.96 * np.sqrt(max(variance, 0.0)) / n
        found = (mean, max(mean - half, 0.0), min(mean + half, 1.0))
        return dict(zip(self.keys, map(float, found), strict=False))
