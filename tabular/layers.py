"""Layers that Keras does not have, each with its paper. B is the batch size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras


class CrossLayer(keras.layers.Layer):
    """Computes one cross of DCN-v2, x0 * (W x + b) + x, where x0 and x are [B, d].

    Wang et al., "DCN V2: Improved Deep & Cross Network" (2021), equation 1.
    """

    def build(self, shapes):  # type: ignore[no-untyped-def]
        self.dense = keras.layers.Dense(shapes[0][-1], kernel_initializer="glorot_normal")
        super().build(shapes)

    def call(self, inputs):  # type: ignore[no-untyped-def]
        start, current = inputs
        return start * self.dense(current) + current


class FactorizationMachine(keras.layers.Layer):
    """Sums the dot products of all pairs of fields: [B, fields, k] to [B, 1].

    Rendle, "Factorization Machines" (2010), lemma 3.1: linear in the number of fields.
    """

    def call(self, fields):  # type: ignore[no-untyped-def]
        square_of_sum = tf.square(tf.reduce_sum(fields, axis=1))
        sum_of_squares = tf.reduce_sum(tf.square(fields), axis=1)
        return 0.5 * tf.reduce_sum(square_of_sum - sum_of_squares, axis=1, keepdims=True)


class SequenceAttention(keras.layers.Layer):
    """Sums past events with learned weights, [B, w].

    The inputs are the row's embedding [B, w], the events' embeddings [B, n, w], numbers about each
    event [B, n, f], and a mask of the places with an event, bool [B, n]. The weights are not
    normalized, so many matching events count for more than one (Zhou et al., "Deep Interest Network
    for Click-Through Rate Prediction" (2018), section 4.3). Keras' Attention normalizes them.
    """

    def __init__(self, units: Sequence[int] = (32, 16), **kwargs: Any):
        super().__init__(**kwargs)
        self.units = tuple(units)

    def build(self, shapes):  # type: ignore[no-untyped-def]
        self.hidden = [keras.layers.Dense(units, activation="swish") for units in self.units]
        self.weight = keras.layers.Dense(1)
        super().build(shapes)

    def call(self, inputs):  # type: ignore[no-untyped-def]
        current, events, facts, present = inputs
        row = tf.repeat(current[:, tf.newaxis, :], tf.shape(events)[1], axis=1)
        hidden = tf.concat([row, events, row - events, row * events, facts], axis=2)
        for layer in self.hidden:
            hidden = layer(hidden)
        weights = self.weight(hidden) * tf.cast(present, tf.float32)[:, :, tf.newaxis]
        return tf.reduce_sum(weights * events, axis=1)

    def get_config(self):  # type: ignore[no-untyped-def]
        return {**super().get_config(), "units": self.units}
