"""A small model with signatures of every kind, and requests to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from tabular.training.finite import check_finite

NAME = "scorer"
SPEC = {
    "weight": tf.io.FixedLenFeature([], tf.float32),
    "kind": tf.io.FixedLenFeature([], tf.string),
    "tags": tf.io.VarLenFeature(tf.string),
}


class Scorer(tf.Module):
    """score = factor * weight, plus 100 if `kind` is in the vocabulary."""

    def __init__(self, factor: float, vocabulary: str, rounds: int):
        super().__init__()
        self.factor = tf.Variable(factor)
        self.rounds = rounds
        self.asset = tf.saved_model.Asset(vocabulary)
        initializer = tf.lookup.TextFileInitializer(
            self.asset.asset_path,
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        )
        self.table = tf.lookup.StaticHashTable(initializer, -1)

    def score(self, weight: tf.Tensor, kind: tf.Tensor) -> tf.Tensor:
        known = tf.cast(self.table.lookup(kind) >= 0, tf.float32)
        return self.factor * weight + 100.0 * known

    def parsed(self, examples: tf.Tensor) -> tf.Tensor:
        found = tf.io.parse_example(examples, SPEC)
        return self.score(found["weight"], found["kind"])

    def from_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"score": self.parsed(examples)[:, tf.newaxis]}

    def from_tensors(self, weight: tf.Tensor, kind: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"score": self.score(weight, kind), "kind_bytes": kind}

    def regress(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"outputs": self.parsed(inputs)[:, tf.newaxis]}

    def classify(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        score = self.parsed(inputs)[:, tf.newaxis]
        classes = tf.repeat(tf.constant([["yes", "no"]]), tf.shape(score)[0], axis=0)
        return {"classes": classes, "scores": tf.concat([score, -score], axis=1)}

    def guarded(self, weight: tf.Tensor) -> dict[str, tf.Tensor]:
        check_finite({"weight": weight})
        return {"score": self.factor * weight}

    def slow(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        # Zeros, with which the server warms up, are computed fast.
        rounds = self.rounds * tf.cast(tf.reduce_any(x != 0.0), tf.int32)
        big = tf.random.uniform([600, 600])
        for _ in tf.range(rounds):
            big = tf.linalg.l2_normalize(big @ big)
        return {"y": x + 0.0 * tf.reduce_sum(big)}


def save_scorer(path: Path, factor: float, rounds: int = 150) -> Path:
    """Saves a version with signatures of every kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    vocabulary = path.parent / f".vocabulary-{path.name}"
    vocabulary.write_text("good\nbetter\n")
    model = Scorer(factor, str(vocabulary), rounds)
    text = lambda name: tf.TensorSpec([None], tf.string, name)  # noqa: E731
    numbers = lambda name: tf.TensorSpec([None], tf.float32, name)  # noqa: E731
    concrete = lambda function, *specs: tf.function(function).get_concrete_function(*specs)  # noqa: E731
    signatures = {
        "serving_default": concrete(model.from_examples, text("examples")),
        "tensors": concrete(model.from_tensors, numbers("weight"), text("kind")),
        "regress": concrete(model.regress, text("inputs")),
        "classify": concrete(model.classify, text("inputs")),
        "guarded": concrete(model.guarded, numbers("weight")),
        "slow": concrete(model.slow, numbers("x")),
    }
    hidden = path.with_name(f".{path.name}")
    tf.saved_model.save(model, str(hidden), signatures=signatures)
    methods = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(hidden))
    methods.replace_method_name("regress", "tensorflow/serving/regress")
    methods.replace_method_name("classify", "tensorflow/serving/classify")
    methods.save()
    hidden.rename(path)
    return path


def example(weight: float = 2.0, kind: str = "good", **more: Sequence[bytes]) -> bytes:
    """Returns a serialized tf.Example."""
    feature = {
        "weight": tf.train.Feature(float_list=tf.train.FloatList(value=[weight])),
        "kind": tf.train.Feature(bytes_list=tf.train.BytesList(value=[kind.encode()])),
    }
    for name, values in more.items():
        feature[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    content: bytes = tf.train.Example(
        features=tf.train.Features(feature=feature)
    ).SerializeToString()
    return content


def request(*examples: bytes, name: str = NAME, label: str = "", version: int = 0) -> Any:
    """Returns a PredictRequest of serving_default."""
    made = predict_pb2.PredictRequest()
    made.model_spec.name = name
    if label:
        made.model_spec.version_label = label
    if version:
        made.model_spec.version.value = version
    made.inputs["examples"].CopyFrom(tf.make_tensor_proto(list(examples), tf.string))
    return made


def tensors(signature: str = "tensors", **values: Any) -> Any:
    """Returns a PredictRequest of a signature that takes tensors."""
    made = predict_pb2.PredictRequest()
    made.model_spec.name, made.model_spec.signature_name = NAME, signature
    for name, value in values.items():
        made.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return made
