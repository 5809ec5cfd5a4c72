"""Exports preprocessing and model as one graph from raw features to the prediction."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
import tf_keras as keras

from base.model_outputs import DECISION, DECISION_FILE
from tabular.decision import Decision
from tabular.feature_set import FeatureSet, TaskName
from tabular.training.finite import check_finite
from tabular.training.tracing import without_autograph

_REPLACE_THE_MODEL = (
    "The fault is the model's if all features are finite: roll back to an earlier version."
)


# TensorFlow Serving's methods of each task, beside Predict.
METHODS: Mapping[TaskName, tuple[str, ...]] = {
    "binary": ("regress", "classify"),
    "multiclass": ("classify",),
    "regression": ("regress",),
}


class ServedModel(tf.Module):
    """The exported graph of preprocessing and model.

    The graph itself raises tf.errors.InvalidArgumentError for a feature or prediction that is not
    finite, so every server and batch job treats it alike. See check_finite.

    Args:
      model: Trained model.
      transform: Output of the Transform step that it was trained on.
      features: Declared features.
      decision: Threshold of the output `decision`, and how it was chosen; None for no such output.
    """

    def __init__(
        self,
        model: keras.Model,
        transform: tft.TFTransformOutput,
        features: FeatureSet,
        decision: Decision | None = None,
    ):
        super().__init__()
        self._decision = decision
        # Only the variables: for a Keras model, TensorFlow would also trace and write the calls of
        # every layer, which nobody reads. It does not look into a function.
        self.model = tf.train.Checkpoint(variables=model.variables)
        self._call_model: Callable[..., Any] = lambda wanted: model(wanted, training=False)
        self._features = features
        self.transformed_spec = {
            name: tf.TensorSpec(tensor.shape, tensor.dtype, name)
            for name, tensor in model.input.items()
        }
        self.transform_layer: Any = transform.transform_features_layer()
        raw = transform.raw_feature_spec()
        self.raw_spec = {n: spec for n, spec in raw.items() if n not in features.not_learned}

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """Returns the functions that servers and checks call, for n examples.

        serving_default: Serialized tf.Examples [n] to the prediction [n, 1], or the probabilities
          [n, classes] of a multiclass model.
        raw_features: One tensor [n] per feature to the prediction; lists are [n, m], padded with
          "" or 0.
        regress, classify: Serialized tf.Examples to the results of TensorFlow Serving's methods. A
          regression has no classify, and a multiclass model no regress. The classes are in the
          order of FeatureSet.classes.
        transform_features: Serialized tf.Examples to every transformed feature.
        score_transformed: Transformed features to the prediction, as in training.

        With a Decision, those that return the prediction also return `decision`, int64 [n, 1], 1
        for an example to review. TensorFlow Serving's methods allow no further output.
        """
        examples, inputs = (tf.TensorSpec([None], tf.string, n) for n in ("examples", "inputs"))
        score = tf.function(without_autograph(self._from_examples), input_signature=[examples])
        raw = {
            name: tf.TensorSpec([None, None] if _is_list(spec) else [None], spec.dtype, name)
            for name, spec in self.raw_spec.items()
        }

        def regress(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"outputs": score(inputs)[self._features.prediction]}

        def classify(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            scores = score(inputs)[self._features.prediction]
            if self._features.task == "binary":
                scores = tf.concat([scores, 1 - scores], axis=1)
            names = tf.constant([self._features.classes])
            return {"classes": tf.repeat(names, tf.shape(scores)[0], axis=0), "scores": scores}

        def concrete(function: Callable[..., Any], *specs: Any, **named: Any) -> Any:
            return tf.function(without_autograph(function)).get_concrete_function(*specs, **named)

        methods = {"regress": regress, "classify": classify}
        return {
            "serving_default": concrete(lambda examples: score(examples), examples),
            "raw_features": concrete(self._from_tensors, **raw),
            **{name: concrete(methods[name], inputs) for name in METHODS[self._features.task]},
            "transform_features": concrete(self._transformed, examples),
            "score_transformed": concrete(self._score, **self.transformed_spec),
        }

    def save(self, path: str) -> None:
        """Exports to `path`, with the method names that TensorFlow Serving expects.

        How a decision was chosen is written to `assets.extra/decision.json`.
        """
        absl = logging.getLogger("absl")
        before = absl.level
        tf.saved_model.save(self, path, signatures=self.signatures())
        absl.setLevel(before)  # TensorFlow leaves it at WARNING, which hides TFX's messages
        methods = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(path)
        for name in METHODS[self._features.task]:
            methods.replace_method_name(name, f"tensorflow/serving/{name}")
        methods.save()
        if self._decision is not None:
            file = Path(path, DECISION_FILE)
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps(self._decision.to_json(), indent=1), "utf-8")

    def _from_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._predict(tf.io.parse_example(examples, self.raw_spec))

    def _transformed(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._preprocess(tf.io.parse_example(examples, self.raw_spec))

    def _from_tensors(self, **columns: tf.Tensor) -> dict[str, tf.Tensor]:
        raw = {
            name: tf.sparse.from_dense(t)
            if _is_list(self.raw_spec[name])
            else tf.reshape(t, [-1, 1])
            for name, t in columns.items()
        }
        return self._predict(raw)

    def _predict(self, raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return self._score(**self._preprocess(raw))

    def _preprocess(self, raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        check_finite(raw)
        return dict(self.transform_layer(raw))

    def _score(self, **transformed: tf.Tensor) -> dict[str, tf.Tensor]:
        wanted = {name: transformed[name] for name in self.transformed_spec}
        found = {self._features.prediction: self._call_model(wanted)}
        check_finite(found, _REPLACE_THE_MODEL)
        if self._decision is not None:
            threshold = tf.constant(self._decision.threshold, tf.float32)
            reviewed = found[self._features.prediction] >= threshold
            found[DECISION] = tf.cast(reviewed, tf.int64)
        return found


def _is_list(spec: object) -> bool:
    return isinstance(spec, tf.io.VarLenFeature)
