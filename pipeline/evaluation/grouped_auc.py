"""AUC within groups of examples, such as those of one user."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import apache_beam as beam
import numpy as np
from scipy.stats import rankdata
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.proto import config_pb2

from pipeline.evaluation.small_slices import allow_small_slices

NAME = "grouped_auc"


class GroupedAUC(metric_types.Metric):
    """Mean of the AUC of each group, weighted by its examples; groups are those of `query_key`.

    Zhou et al., "Deep Interest Network" (2018), section 6.2. Groups in which all or none have the
    event say nothing and do not count; NaN where that leaves none. In a slice, a group counts with
    all its examples as soon as one is in it (so TFMA): read it in slices by what a group is, as
    the country of a user, and not by what differs within it.

    Args:
      name: of the metric.
    """

    def __init__(self, name: str = NAME):
        super().__init__(_computations, name=name)


metric_types.register_metric(GroupedAUC)
allow_small_slices()


def _computations(
    name: str,
    eval_config: config_pb2.EvalConfig | None = None,
    model_names: Iterable[str] = (),
    output_names: Iterable[str] = (),
    query_key: str = "",
) -> metric_types.MetricComputations:
    if not query_key:
        raise ValueError("GroupedAUC needs a query_key in its metrics spec: what makes a group")
    keys = [
        metric_types.MetricKey(name, model_name=model, output_name=output)
        for model in (model_names or [""])
        for output in (output_names or [""])
    ]
    return [
        metric_types.MetricComputation([key], preprocessors=None, combiner=_Mean(key, eval_config))
        for key in keys
    ]


def auc(labels: np.ndarray, predictions: np.ndarray) -> float:
    """AUC of examples, [n] each, by the rank-sum statistic; NaN when all labels are equal."""
    positive = labels > 0
    events, others = int(positive.sum()), int((~positive).sum())
    if not events or not others:
        return float("nan")
    ranks = rankdata(predictions)  # ties get their mean rank
    return float((ranks[positive].sum() - events * (events + 1) / 2) / (events * others))


@dataclasses.dataclass
class _Sum:
    auc: float = 0.0
    examples: int = 0


class _Mean(beam.CombineFn):
    def __init__(self, key: metric_types.MetricKey, eval_config: config_pb2.EvalConfig | None):
        self.key, self.eval_config = key, eval_config

    def create_accumulator(self) -> _Sum:
        return _Sum()

    def add_input(self, sums: _Sum, group: metric_types.StandardMetricInputs) -> _Sum:
        ((labels, predictions, _),) = metric_util.to_label_prediction_example_weight(
            group,
            eval_config=self.eval_config,
            model_name=self.key.model_name,
            output_name=self.key.output_name,
            flatten=False,
        )
        found = auc(np.ravel(labels), np.ravel(predictions))
        if not np.isnan(found):
            sums.auc += found * np.size(labels)
            sums.examples += np.size(labels)
        return sums

    def merge_accumulators(self, accumulators: Iterable[_Sum]) -> _Sum:
        result = _Sum()
        for sums in accumulators:
            result.auc += sums.auc
            result.examples += sums.examples
        return result

    def extract_output(self, sums: _Sum) -> dict[metric_types.MetricKey, float]:
        return {self.key: sums.auc / sums.examples if sums.examples else float("nan")}
