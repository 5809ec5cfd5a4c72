"""Scores a split with a model, over all workers.

Keras' own validation loss includes regularization penalties.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from tabular.tasks import Scored, Task
from tabular.training.distribution import gather_rows
from tabular.training.examples import Examples
from tabular.training.tracing import without_autograph

_AT_ONCE = 8192


class Scorer:
    """Predicts with a model, whose graph is built once.

    Args:
      model: Model from transformed features to predictions, [rows, outputs].
    """

    def __init__(self, model: keras.Model):
        self._outputs = model.output_shape[-1]
        self._predict = tf.function(
            without_autograph(lambda features: model(features, training=False)),
            reduce_retracing=True,
        )

    def scores(self, examples: Examples) -> Scored:
        """Returns labels, predictions and weights of this worker's share."""
        return Scored.of_columns(self.columns(examples))

    def columns(self, examples: Examples) -> NDArray[np.float32]:
        """Returns label, weight and predictions as columns, [rows, 2 + outputs]."""
        parts = [np.empty([0, 2 + self._outputs], np.float32)]
        for features, labels, *rest in examples.in_order(_AT_ONCE):
            weights = rest[0] if rest else tf.ones_like(labels)
            parts.append(tf.concat([labels, weights, self._predict(features)], axis=1).numpy())
        return np.concatenate(parts)


def validation_metrics(
    scorer: Scorer, examples: Examples, strategy: tf.distribute.Strategy, task: Task
) -> dict[str, float]:
    """Returns the task's metrics over the shares of all workers. Every worker must call it."""
    return task.metrics(Scored.of_columns(gather_rows(scorer.columns(examples), strategy)))
