"""Averages weights over the last steps, for validation and export but not for training.

An exponential moving average (Polyak and Juditsky 1992, as in Keras' `use_ema`) reduces the noise
of the last batches, so calibration on later hours varies less from run to run. Only Keras 3 has a
callback that swaps the weights (SwapEMAWeights); tf_keras does not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tf_keras as keras


@contextlib.contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Gives the model its optimizer's averaged weights, if there are any, within the block."""
    if not model.optimizer.use_ema:
        yield
        return
    trained = [weight.numpy() for weight in model.trainable_variables]
    model.optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for weight, before in zip(model.trainable_variables, trained, strict=True):
            weight.assign(before)
