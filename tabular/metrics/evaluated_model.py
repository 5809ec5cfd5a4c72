"""Reads labels, predictions and weights from what TFMA passes to a metric."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.proto import config_pb2

from base.model_outputs import DECISION


@dataclasses.dataclass(frozen=True)
class EvaluatedModel:
    """The model and output that TFMA passes to each metric."""

    eval_config: config_pb2.EvalConfig | None
    model_name: str
    output_name: str
    example_weighted: bool

    def key(self, name: str, kind: type = metric_types.MetricKey) -> Any:
        """Returns TFMA's key of a metric or plot."""
        return kind(
            name=name,
            model_name=self.model_name,
            output_name=self.output_name,
            example_weighted=self.example_weighted,
        )

    def read(self, inputs: metric_types.StandardMetricInputs) -> tuple[NDArray[Any], ...]:
        """Returns the labels, predictions and weights of one example, or of one group.

        Raises:
          ValueError: There are weights, and one is missing.
        """
        (found,) = metric_util.to_label_prediction_example_weight(
            inputs,
            eval_config=self.eval_config,
            model_name=self.model_name,
            output_name=self.output_name,
            example_weighted=self.example_weighted,
            flatten=False,  # flattening would split an example with several scores
        )
        labels, predictions, weights = found
        if not self.example_weighted:
            return labels, predictions, np.ones(np.size(labels))
        given = inputs.example_weight
        if isinstance(given, Mapping):
            given = given.get(self.model_name)
        # TFMA counts an example without a weight once.
        if given is None or np.size(weights) != np.size(labels):
            raise ValueError(
                "each example must have one weight (evaluator.weight). Received: an example "
                "without one"
            )
        return labels, predictions, np.ravel(weights)

    def decision(self, inputs: metric_types.StandardMetricInputs) -> NDArray[Any] | None:
        """Returns the model's output `decision` of one example; None if it has no such output."""
        found = inputs.prediction  # output -> value; if there are several models, by model
        if isinstance(found, Mapping) and self.model_name in found:
            found = found[self.model_name]
        given = found.get(DECISION) if isinstance(found, Mapping) else None
        return None if given is None else np.ravel(given)
