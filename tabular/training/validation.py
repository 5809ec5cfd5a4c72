"""Computes the exact log loss and AUC of a model on a split, over all workers.

Keras' own AUC counts scores in bins of equal width and is wrong by several hundredths for rare
events. Its validation loss includes regularization penalties.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from tabular.metrics.classification import auc, log_loss
from tabular.metrics.scores import ScoreCounts
from tabular.training.distribution import gather_rows
from tabular.training.examples import Examples
from tabular.training.tracing import without_autograph

_AT_ONCE = 8192


class Scorer:
    """Predicts with a model, whose graph is built once.

    Args:
      model: Model from transformed features to a probability, [rows, 1].
    """

    def __init__(self, model: keras.Model):
        self._predict = tf.function(
            without_autograph(lambda features: model(features, training=False)),
            reduce_retracing=True,
        )

    def scores(self, examples: Examples) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Returns labels and probabilities of this worker's share, float32 [rows] each."""
        batches = [(y, self._predict(x)) for x, y in examples.in_order(_AT_ONCE)]
        if not batches:
            return np.empty(0, np.float32), np.empty(0, np.float32)
        labels, scores = (np.concatenate(column)[:, 0] for column in zip(*batches, strict=True))
        return labels, scores


def validation_metrics(
    scorer: Scorer, examples: Examples, strategy: tf.distribute.Strategy
) -> dict[str, float]:
    """Returns `val_loss` and `val_auc` over the shares of all workers. Every worker must call it.

    Both are NaN if a score is not finite. The AUC is also NaN if all labels are equal.
    """
    labels, scores = gather_rows(np.stack(scorer.scores(examples), axis=1), strategy).T
    if not np.isfinite(scores).all():
        return {"val_loss": math.nan, "val_auc": math.nan}
    counts = ScoreCounts.count(labels, scores)
    return {"val_loss": float(log_loss(counts)), "val_auc": float(auc(counts))}
