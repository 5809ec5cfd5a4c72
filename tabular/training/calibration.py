"""Fits a model's probabilities to a split that it was not trained on."""

from __future__ import annotations

import logging

import numpy as np
import tf_keras as keras
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from tabular.training.examples import Examples
from tabular.training.validation import Scorer

_log = logging.getLogger(__name__)


def calibrate(model: keras.Model, output: keras.layers.Dense, examples: Examples) -> None:
    """Applies Platt scaling to the last layer: log-odds z become slope * z + intercept.

    A network that stops at its best round ranks well, but its probabilities are often a few per
    cent off, the more so when the share of label 1 changes with time (Platt, "Probabilistic Outputs
    for Support Vector Machines" (1999)). Two numbers overfit no split. If they cannot be fitted
    (one class only, or a ranking no better than chance), the model is unchanged and a warning is
    logged.

    Args:
      model: Trained model that ends with `output`.
      output: Last layer, with one unit and sigmoid activation.
      examples: Whole split and not one worker's share, so that all workers fit the same numbers.
    """
    logits, labels = _predicted(model, examples)
    if len(np.unique(labels)) < 2:
        _log.warning("not calibrated: all labels of the eval split are %g", labels[0])
        return
    fitted = LogisticRegression(C=np.inf).fit(logits, labels)
    slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    if slope <= 0:
        _log.warning("not calibrated: the model ranks no better than chance (slope %.3f)", slope)
        return
    output.kernel.assign(output.kernel * slope)
    output.bias.assign(output.bias * slope + intercept)
    _log.info("calibrated: log-odds * %.3f %+.3f", slope, intercept)


def _predicted(
    model: keras.Model, examples: Examples
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Returns log-odds [rows, 1] and labels [rows]."""
    labels, scores = Scorer(model).scores(examples)
    probability = np.clip(scores.astype(np.float64), 1e-7, 1 - 1e-7)
    return np.log(probability / (1 - probability))[:, np.newaxis], labels
