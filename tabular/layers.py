"""Layers of click-through-rate models, each with its paper; shapes with a batch of B."""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras


class CrossLayer(keras.layers.Layer):
    """One cross of DCN-v2: x0 * (W x + b) + x, of x0 and x, both [B, d].

    Wang et al., "DCN V2: Improved Deep & Cross Network" (2021), equation 1.
    """

    def build(self, shapes):  # type: ignore[no-untyped-def]
        self.dense = keras.layers.Dense(shapes[0][-1], kernel_initializer="glorot_normal")
        super().build(shapes)

    def call(self, inputs):  # type: ignore[no-untyped-def]
        start, current = inputs
        return start * self.dense(current) + current


class FactorizationMachine(keras.layers.Layer):
    """Sum of the dot products of all pairs of fields: [B, fields, k] to [B, 1].

    Rendle, "Factorization Machines" (2010), lemma 3.1: linear in the number of fields.
    """

    def call(self, fields):  # type: ignore[no-untyped-def]
        square_of_sum = tf.square(tf.reduce_sum(fields, axis=1))
        sum_of_squares = tf.reduce_sum(tf.square(fields), axis=1)
        return 0.5 * tf.reduce_sum(square_of_sum - sum_of_squares, axis=1, keepdims=True)


class InterestAttention(keras.layers.Layer):
    """What of a user's recent clicks concerns this item: a weighted sum of them, [B, d].

    Inputs: the item [B, d], the clicks [B, n, d], facts about each click [B, n, f], and which of
    the n places hold a click, bool [B, n]. The weights are not normalised, so that many clicks
    that fit say more than one does (Zhou et al., "Deep Interest Network for Click-Through Rate
    Prediction" (2018), section 4.3).
    """

    def __init__(self, units=(32, 16), **kwargs):  # type: ignore[no-untyped-def]
        super().__init__(**kwargs)
        self.units = tuple(units)

    def build(self, shapes):  # type: ignore[no-untyped-def]
        self.hidden = [keras.layers.Dense(units, activation="swish") for units in self.units]
        self.weight = keras.layers.Dense(1)
        super().build(shapes)

    def call(self, inputs):  # type: ignore[no-untyped-def]
        item, clicks, facts, present = inputs
        items = tf.repeat(item[:, tf.newaxis, :], tf.shape(clicks)[1], axis=1)
        current = tf.concat([items, clicks, items - clicks, items * clicks, facts], axis=2)
        for layer in self.hidden:
            current = layer(current)
        weights = self.weight(current) * tf.cast(present, tf.float32)[:, :, tf.newaxis]
        return tf.reduce_sum(weights * clicks, axis=1)

    def get_config(self):  # type: ignore[no-untyped-def]
        return {**super().get_config(), "units": self.units}
