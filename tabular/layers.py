"""Layers that Keras does not have, each with its paper. B is the batch size."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
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
    """Sums the products of all pairs of fields: [B, fields, k] to [B, outputs].

    Rendle, "Factorization Machines" (2010), lemma 3.1: linear in the number of fields. One output
    is the sum of the dot products. Of several, each weights the k products (He and Chua, "Neural
    Factorization Machines" (2017), equation 3).
    """

    def __init__(self, outputs: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.outputs = outputs

    def build(self, shapes):  # type: ignore[no-untyped-def]
        if self.outputs > 1:
            self.weight = keras.layers.Dense(self.outputs, use_bias=False)
        super().build(shapes)

    def call(self, fields):  # type: ignore[no-untyped-def]
        square_of_sum = tf.square(tf.reduce_sum(fields, axis=1))
        sum_of_squares = tf.reduce_sum(tf.square(fields), axis=1)
        products = 0.5 * (square_of_sum - sum_of_squares)
        if self.outputs > 1:
            return self.weight(products)
        return tf.reduce_sum(products, axis=1, keepdims=True)

    def get_config(self):  # type: ignore[no-untyped-def]
        return {**super().get_config(), "outputs": self.outputs}


class Probabilities(keras.layers.Layer):
    """Turns a score of each class into probabilities: softmax(kernel * x + bias), [B, n].

    The kernel is one number for all classes, the inverse of a temperature (Guo et al., "On
    Calibration of Modern Neural Networks" (2017)). The layer also keeps a checksum of each class's
    name, so that a warm start notices other classes.

    Args:
      classes: Names of the classes.
      shares: Share of each class, at which the output starts.
    """

    CHECKSUMS = "checksums"

    def __init__(self, classes: Sequence[str], shares: Sequence[float], **kwargs: Any):
        super().__init__(**kwargs)
        self.classes, self.shares = tuple(classes), tuple(shares)

    def build(self, shape):  # type: ignore[no-untyped-def]
        constant = keras.initializers.Constant
        size = [len(self.classes)]
        self.kernel = self.add_weight("kernel", [], initializer="ones")
        self.bias = self.add_weight("bias", size, initializer=constant(np.log(self.shares)))
        checksums = [zlib.crc32(name.encode()) for name in self.classes]
        self.checksums = self.add_weight(
            self.CHECKSUMS, size, tf.int64, constant(checksums), trainable=False
        )
        super().build(shape)

    def call(self, scores):  # type: ignore[no-untyped-def]
        return keras.activations.softmax(scores * self.kernel + self.bias)

    def get_config(self):  # type: ignore[no-untyped-def]
        return {**super().get_config(), "classes": self.classes, "shares": self.shares}


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
