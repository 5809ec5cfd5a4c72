"""Graphs without AutoGraph.

AutoGraph treats `keras` as library code but `tf_keras` as the user's, and rewrites it for every
graph. That takes ten seconds per start, although the code has no control flow to rewrite.
"""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

without_autograph = tf.autograph.experimental.do_not_convert


class Network(keras.Model):
    """A functional model whose steps are traced without AutoGraph."""

    train_step = without_autograph(keras.Model.train_step)
    test_step = without_autograph(keras.Model.test_step)
