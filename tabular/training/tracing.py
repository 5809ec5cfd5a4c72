"""Graphs without AutoGraph.

AutoGraph takes `keras` for library code and `tf_keras` for the user's, and rewrites all that it
calls of it whenever a graph is made: ten seconds at each start, for code that has no control flow
to rewrite.
"""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

as_written = tf.autograph.experimental.do_not_convert


class Network(keras.Model):
    """A functional model whose steps are traced as they are written."""

    train_step = as_written(keras.Model.train_step)
    test_step = as_written(keras.Model.test_step)
