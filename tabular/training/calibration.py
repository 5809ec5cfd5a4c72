"""Fits a model's predictions to a split that it was not trained on."""

from __future__ import annotations

import logging

import tf_keras as keras

from tabular.tasks import Task
from tabular.training.examples import Examples
from tabular.training.validation import Scorer

_log = logging.getLogger(__name__)


def calibrate(model: keras.Model, task: Task, examples: Examples) -> None:
    """Applies the task's `line` to the last layer; the model is unchanged if none can be fitted.

    Args:
      model: Trained model that ends with the task's output.
      task: Task of the model.
      examples: Whole split and not one worker's share, so that all workers fit the same numbers.
    """
    fitted = task.line(Scorer(model).scores(examples))
    if fitted is None:
        return
    slope, intercept = fitted
    output = model.get_layer(task.prediction)
    output.kernel.assign(output.kernel * slope)
    output.bias.assign(output.bias * slope + intercept)
    _log.info("calibrated: what goes into the output * %.3f %+.3f", slope, intercept)
