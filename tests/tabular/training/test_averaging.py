"""Averaged weights: in the model within the block, and never what trains."""

from __future__ import annotations

import numpy as np
import pytest
import tf_keras as keras

from tabular.training.averaging import averaged_weights

pytestmark = pytest.mark.unit

MOMENTUM = 0.75
ROWS, LABELS = np.array([[1.0], [2.0]], np.float32), np.array([[3.0], [5.0]], np.float32)


def model_of(**average: object) -> keras.Model:
    model = keras.Sequential([keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(0.01, **average), loss="mse", run_eagerly=True)
    model.build((None, 1))
    model.optimizer.build(model.trainable_variables)
    return model


def kernel(model: keras.Model) -> float:
    return float(model.trainable_variables[0].numpy()[0, 0])


def test_the_model_has_the_moving_average_within_the_block_and_its_weights_behind_it() -> None:
    model = model_of(use_ema=True, ema_momentum=MOMENTUM, ema_overwrite_frequency=None)
    expected = kernel(model)
    for _ in range(4):
        model.train_on_batch(ROWS, LABELS)
        expected = MOMENTUM * expected + (1 - MOMENTUM) * kernel(model)
    trained = kernel(model)
    with averaged_weights(model):
        assert kernel(model) == pytest.approx(expected, rel=1e-6)
    assert kernel(model) == trained != pytest.approx(expected, rel=1e-3)


def test_without_averages_the_weights_stay() -> None:
    model = model_of()
    model.train_on_batch(ROWS, LABELS)
    trained = kernel(model)
    with averaged_weights(model):
        assert kernel(model) == trained
