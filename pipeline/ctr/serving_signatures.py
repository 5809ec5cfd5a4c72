"""What is exported: preprocessing and model as one graph, from raw features to probability."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_transform as tft
import tf_keras as keras

from pipeline.ctr import features

PROBABILITY = "probability"


class ServedModel(tf.Module):
    """What is exported: preprocessing and model as one graph, from raw features to probability."""

    def __init__(self, model: keras.Model, transform: tft.TFTransformOutput):
        super().__init__()
        self.model = model
        self.transform_layer = transform.transform_features_layer()
        raw = transform.raw_feature_spec()
        left_out = {features.LABEL, *features.KEYS}  # a request does not have them
        self.raw_spec = {name: spec for name, spec in raw.items() if name not in left_out}

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """serving_default: serialized tf.Examples [n]; raw_features: a tensor [n] a feature.

        Lists are [n, m] in raw_features, filled up with "" or 0.
        """
        examples = tf.TensorSpec([None], tf.string, name="examples")
        tensors = {
            name: tf.TensorSpec([None, None] if _is_list(spec) else [None], spec.dtype, name)
            for name, spec in self.raw_spec.items()
        }
        return {
            "serving_default": tf.function(self._from_examples).get_concrete_function(examples),
            "raw_features": tf.function(self._from_tensors).get_concrete_function(**tensors),
        }

    def _from_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._predict(tf.io.parse_example(examples, self.raw_spec))

    def _from_tensors(self, **columns: tf.Tensor) -> dict[str, tf.Tensor]:
        raw = {
            name: tf.sparse.from_dense(t)
            if _is_list(self.raw_spec[name])
            else tf.reshape(t, [-1, 1])
            for name, t in columns.items()
        }
        return self._predict(raw)

    def _predict(self, raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        transformed = self.transform_layer(raw)
        wanted = {name: transformed[name] for name in self.model.input}
        return {PROBABILITY: self.model(wanted, training=False)}


def _is_list(spec: object) -> bool:
    return isinstance(spec, tf.io.VarLenFeature)
