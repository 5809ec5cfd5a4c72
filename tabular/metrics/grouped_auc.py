"""AUC within groups of examples, such as the examples of one user."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import apache_beam as beam
import numpy as np
from numpy.typing import NDArray
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.proto import config_pb2

from tabular.metrics import classification
from tabular.metrics.evaluated_model import EvaluatedModel
from tabular.metrics.metric_names import GROUPED_AUC, HIGH, LOW
from tabular.metrics.scores import ScoreCounts

_MIN_GROUPS = 30  # for an interval


class GroupedAUC(metric_types.Metric):
    """Mean of the AUC within each group of `query_key`, weighted by the group's total weight.

    Zhou et al., "Deep Interest Network" (2018), section 6.2. Groups with one label do not count.
    The metric is NaN if no group is left. In a slice, TFMA counts a group with all its examples as
    soon as one of them is in the slice. Slice by a property of the group, such as a user's country,
    and not by one that varies within it.

    Args:
      name: Name of the metric.
      intervals: Whether to compute NAME/low and NAME/high, the bounds of a 95 % interval. It covers
        the variance between groups, because the examples of a group are alike.
    """

    def __init__(self, name: str = GROUPED_AUC, intervals: bool = True):
        super().__init__(_computations, name=name, intervals=intervals)


metric_types.register_metric(GroupedAUC)


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
        raise ValueError("GroupedAUC needs a query_key, the feature that defines a group")
    names = [name, name + LOW, name + HIGH] if intervals else [name]
    computations = []
    for model in model_names or [""]:
        for output in output_names or [""]:
            evaluated = EvaluatedModel(eval_config, model, output, example_weighted)
            keys = [evaluated.key(one) for one in names]
            computations.append(metric_types.MetricComputation(keys, None, _Mean(keys, evaluated)))
    return computations


class _Mean(beam.CombineFn):
    """Sums n, n * a, n^2, n^2 * a, n^2 * a^2 and 1 over groups of weight n and an AUC of a."""

    def __init__(self, keys: Sequence[metric_types.MetricKey], model: EvaluatedModel):
        self.keys, self.model = keys, model

    def create_accumulator(self) -> NDArray[np.float64]:
        return np.zeros(6)

    def add_input(
        self, sums: NDArray[np.float64], group: metric_types.StandardMetricInputs
    ) -> NDArray[np.float64]:
        labels, predictions, weights = map(np.ravel, self.model.read(group))
        found = float(classification.auc(ScoreCounts.count(labels, predictions, weights)))
        n = float(weights.sum())
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
            half = 1.96 * np.sqrt(square_sum - 2 * mean * cross + mean**2 * squares) / n
        found = (mean, max(mean - half, 0.0), min(mean + half, 1.0))
        return dict(zip(self.keys, map(float, found), strict=False))
