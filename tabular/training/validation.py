"""Validates a model on a split: exact log loss and AUC, over all workers.

Keras' own AUC counts scores in groups that are equally wide, and is wrong by several hundredths
where an event is rare; its validation loss has the penalties of regularization in it.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tabular.metrics.classification import auc, log_loss
from tabular.metrics.scores import ScoreCounts
from tabular.training.distribution import all_rows
from tabular.training.examples import Examples
from tabular.training.tracing import as_written

_AT_ONCE = 8192


class Scorer:
    """A model's predictions; its graph is made once.

    Args:
      model: From transformed features to a probability, [rows, 1].
    """

    def __init__(self, model: keras.Model):
        self._predict = tf.function(
            as_written(lambda features: model(features, training=False)), reduce_retracing=True
        )

    def scores(self, examples: Examples) -> tuple[np.ndarray, np.ndarray]:
        """Labels and probabilities of this worker's share, float32 [rows] each."""
        batches = [(y, self._predict(x)) for x, y in examples.in_order(_AT_ONCE)]
        if not batches:
            return np.empty(0, np.float32), np.empty(0, np.float32)
        labels, scores = (np.concatenate(column)[:, 0] for column in zip(*batches, strict=True))
        return labels, scores


def validated(
    scorer: Scorer, examples: Examples, strategy: tf.distribute.Strategy
) -> dict[str, float]:
    """`val_loss` and `val_auc` over the shares of all workers, each of which has to ask.

    Both are NaN where a score is not finite; the AUC also where all labels are equal.
    """
    labels, scores = all_rows(np.stack(scorer.scores(examples), axis=1), strategy).T
    if not np.isfinite(scores).all():
        return {"val_loss": math.nan, "val_auc": math.nan}
    counts = ScoreCounts.count(labels, scores)
    return {"val_loss": float(log_loss(counts)), "val_auc": float(auc(counts))}
