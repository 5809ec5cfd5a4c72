"""Weights averaged over the last steps, to validate and to save; training goes on without them.

An exponential moving average (Polyak and Juditsky 1992, as in Keras' `use_ema`) has less of the
noise of the last batches: calibration on later hours differs less from run to run. Keras has a
callback that swaps them (SwapEMAWeights) in version 3 only, not in tf_keras.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tf_keras as keras


@contextlib.contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Gives the model the averages that its optimizer keeps, if it keeps any, within the block."""
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
