"""Weights that are averaged over the last steps: what is validated and saved, not what trains on.

An exponential moving average (Polyak and Juditsky 1992, as in Keras' `use_ema`) has less of the
noise of the last batches: calibration on later hours differs less from run to run. Keras itself
would overwrite the weights that train, and so slow the training down.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tf_keras as keras


@contextlib.contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Within it, the model has the averages that its optimizer keeps, if it keeps any."""
    if not model.optimizer.use_ema:
        yield
        return
    averages = model.optimizer._model_variables_moving_average
    trained = [weight.numpy() for weight in model.trainable_variables]
    for weight, average in zip(model.trainable_variables, averages, strict=True):
        weight.assign(average)
    try:
        yield
    finally:
        for weight, before in zip(model.trainable_variables, trained, strict=True):
            weight.assign(before)
