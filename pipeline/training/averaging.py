"""Weights that are averaged over the last steps: what is validated and saved, not what trains on.

An exponential moving average (Polyak and Juditsky 1992, as in Keras' `use_ema`) has less of the
noise of the last batches: calibration on later hours differs less from run to run. Keras itself
would overwrite the weights that train, and so slow the training down.
"""

from __future__ import annotations

from typing import Any

import tf_keras as keras


class ValidateAverages(keras.callbacks.Callback):
    """Puts the optimizer's averages into the model from a validation's start to its epoch's end.

    Comes after the callbacks that save the best weights, and before those that save what to go on
    with. Without `use_ema` it does nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self._trained: list[Any] = []

    def on_test_begin(self, logs: Any = None) -> None:
        if self.model.optimizer.use_ema:
            averages = self.model.optimizer._model_variables_moving_average
            weights = self.model.trainable_variables
            self._trained = [weight.numpy() for weight in weights]
            for weight, average in zip(weights, averages, strict=True):
                weight.assign(average)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        for weight, trained in zip(self.model.trainable_variables, self._trained, strict=False):
            weight.assign(trained)
        self._trained = []
