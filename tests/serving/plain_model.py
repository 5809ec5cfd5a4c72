"""A model with signatures that were not designed for serving."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

NAME = "plain"


class Plain(tf.Module):
    """Small functions of one or two tensors."""

    def double(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": 2.0 * x}

    def product(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.matmul(x, tf.constant([[1.0, 10.0]]))}

    def greet(self, name: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"greeting": tf.strings.join(["hello ", name])}

    def count(self, words: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"n": tf.size(words), "first_bytes": words[0]}

    def same(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {f"same_{name}": tf.identity(tensor) for name, tensor in inputs.items()}

    def regress(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"outputs": tf.cast(tf.strings.length(inputs), tf.float32)}

    def regress_double(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"outputs": tf.cast(tf.strings.length(inputs), tf.float64)}

    def classify(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        score = tf.cast(tf.strings.length(inputs), tf.float32)[:, tf.newaxis]
        return {"scores": tf.concat([score, 0.2 * tf.ones_like(score)], axis=1)}


def save_plain(path: Path) -> Path:
    """Saves a version whose signatures all have the method name tensorflow/serving/predict."""
    model = Plain()
    concrete = lambda function, **specs: tf.function(function).get_concrete_function(**specs)  # noqa: E731
    column = tf.TensorSpec([None, 1], tf.float32, "x")
    examples = tf.TensorSpec([None], tf.string, "inputs")
    numbers = {
        kind.name: tf.TensorSpec([None], kind, kind.name)
        for kind in (tf.int8, tf.uint8, tf.int32, tf.int64, tf.uint64, tf.float64)
    }
    signatures = {
        "double": concrete(model.double, x=column),
        "product": concrete(model.product, x=column),
        "greet": concrete(model.greet, name=tf.TensorSpec([], tf.string, "name")),
        "count": concrete(model.count, words=tf.TensorSpec([None], tf.string, "words")),
        "numbers": concrete(model.same, **numbers),
        "regress": concrete(model.regress, inputs=examples),
        "regress_double": concrete(model.regress_double, inputs=examples),
        "classify": concrete(model.classify, inputs=examples),
    }
    tf.saved_model.save(model, str(path), signatures=signatures)
    return path
