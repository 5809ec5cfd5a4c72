"""Scores a split with a model, over all workers.

Keras' own validation loss includes regularization penalties.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from tabular.tasks import Task
from tabular.training.distribution import gather_rows
from tabular.training.examples import Examples
from tabular.training.tracing import without_autograph

_AT_ONCE = 8192


class Scorer:
    """Predicts with a model, whose graph is built once.

    Args:
      model: Model from transformed features to a prediction, [rows, 1].
    """

    def __init__(self, model: keras.Model):
        self._predict = tf.function(
            without_autograph(lambda features: model(features, training=False)),
            reduce_retracing=True,
        )

    def scores(self, examples: Examples) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Returns labels and predictions of this worker's share, float32 [rows] each."""
        batches = [(y, self._predict(x)) for x, y in examples.in_order(_AT_ONCE)]
        if not batches:
            return np.empty(0, np.float32), np.empty(0, np.float32)
        labels, scores = (np.concatenate(column)[:, 0] for column in zip(*batches, strict=True))
        return labels, scores


def validation_metrics(
    scorer: Scorer, examples: Examples, strategy: tf.distribute.Strategy, task: Task
) -> dict[str, float]:
    """Returns the task's metrics over the shares of all workers. Every worker must call it."""
    labels, scores = gather_rows(np.stack(scorer.scores(examples), axis=1), strategy).T
    return task.metrics(labels, scores)
