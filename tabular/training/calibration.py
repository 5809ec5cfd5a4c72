"""A model's probabilities, fitted to a split it was not trained on."""

from __future__ import annotations

import logging

import numpy as np
import tf_keras as keras
from sklearn.linear_model import LogisticRegression

from tabular.training.examples import Examples
from tabular.training.validation import Scorer

_log = logging.getLogger(__name__)


def calibrate(model: keras.Model, output: keras.layers.Dense, examples: Examples) -> None:
    """Platt scaling of the last layer: its log-odds z become slope * z + intercept.

    A network that stops at its best round ranks well and is often a few per cent off, all the more
    when label 1 becomes rarer or more frequent with time (Platt, "Probabilistic Outputs for Support
    Vector Machines" (1999)). Two numbers overfit no split. Where they cannot be found (one class
    only, or a ranking that is no better than none), the model stays as it is, with a warning.

    Args:
      model: trained; its result is that of `output`.
      output: the last layer, of one unit and with sigmoid.
      examples: whole, not a worker's share: all workers find the same.
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


def _predicted(model: keras.Model, examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds [rows, 1], labels [rows]."""
    labels, scores = Scorer(model).scores(examples)
    probability = np.clip(scores.astype(np.float64), 1e-7, 1 - 1e-7)
    return np.log(probability / (1 - probability))[:, np.newaxis], labels
