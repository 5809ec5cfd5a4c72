"""DCN-v2 for CTR: embeddings, explicit feature crosses beside a deep network, one probability.

Wang et al., "DCN V2: Improved Deep & Cross Network" (2021): x_{l+1} = x0 * (W x_l + b) + x_l.
"""

from __future__ import annotations

import logging
from pathlib import Path

import tensorflow as tf
import tensorflow_transform as tft
import tf_keras as keras
from pydantic import BaseModel, ConfigDict, Field
from tfx.components.trainer.fn_args_utils import FnArgs

from pipeline.ctr import features, preprocessing
from pipeline.dataset import transformed_examples

_log = logging.getLogger(__name__)
PROBABILITY = "probability"


class ModelParameters(BaseModel):
    """`trainer.parameters` in the config."""

    model_config = ConfigDict(extra="forbid")

    epochs: int = Field(4, ge=1, description="at most; training stops early")
    patience: int = Field(1, ge=0, description="epochs without a better log loss before it stops")
    batch_size: int = Field(1024, ge=1)
    learning_rate: float = Field(0.05, gt=0, description="of Adagrad")
    cross_layers: int = Field(2, ge=0)
    deep_layers: tuple[int, ...] = (128, 64)
    dropout: float = Field(0.1, ge=0, lt=1)
    shuffle_rows: int = Field(200_000, ge=0)
    seed: int = 17


class CrossLayer(keras.layers.Layer):
    """One cross: [batch, d] and the network's input [batch, d] to [batch, d]."""

    def build(self, shapes):  # type: ignore[no-untyped-def]
        self.dense = keras.layers.Dense(shapes[0][-1], kernel_initializer="glorot_normal")
        super().build(shapes)

    def call(self, inputs):  # type: ignore[no-untyped-def]
        start, current = inputs
        return start * self.dense(current) + current


def embedding_width(size: int) -> int:
    """Rule of thumb of the TensorFlow guides: 2 * fourth root, in steps of 4, at most 32."""
    return min(32, 4 * max(1, round(2 * size**0.25 / 4)))


def build_model(
    dense_width: int, index_sizes: dict[str, int], parameters: ModelParameters, click_rate: float
) -> keras.Model:
    """Compiled model from transformed features to the probability of a click, [batch, 1].

    Args:
      dense_width: length of the dense vector.
      index_sizes: transformed index feature -> number of indices.
      parameters: see ModelParameters.
      click_rate: of the training data; the output starts there instead of at one half.
    """
    dense = keras.Input([dense_width], name=preprocessing.DENSE_VECTOR)
    inputs = {preprocessing.DENSE_VECTOR: dense}
    parts = [dense]
    for name, size in index_sizes.items():
        inputs[name] = keras.Input([], dtype=tf.int64, name=name)
        embedding = keras.layers.Embedding(
            size,
            embedding_width(size),
            embeddings_initializer=keras.initializers.RandomNormal(stddev=0.01),
            name=f"{name}_embedding",
        )
        parts.append(embedding(inputs[name]))
    start = keras.layers.Concatenate()(parts)
    crossed = start
    for _ in range(parameters.cross_layers):
        crossed = CrossLayer()([start, crossed])
    deep = start
    for units in parameters.deep_layers:
        deep = keras.layers.Dense(units, activation="relu")(deep)
        deep = keras.layers.Dropout(parameters.dropout)(deep)
    log_odds = float(tf.math.log(click_rate / (1 - click_rate)))
    output = keras.layers.Dense(
        1,
        activation="sigmoid",
        bias_initializer=keras.initializers.Constant(log_odds),
        name=PROBABILITY,
    )(keras.layers.Concatenate()([crossed, deep]))
    model = keras.Model(inputs, output)
    model.compile(
        # Adagrad: Adam gives a row that is seen once in a while steps thirty times its share, and
        # the embeddings of users learn their few rows by heart within an epoch.
        optimizer=keras.optimizers.Adagrad(
            parameters.learning_rate, initial_accumulator_value=1e-6
        ),
        loss=keras.losses.BinaryCrossentropy(),
        metrics=[keras.metrics.AUC(name="auc", num_thresholds=1000)],
    )
    return model


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
        """serving_default: serialized tf.Examples [n]; raw_features: a tensor [n] a feature."""
        examples = tf.TensorSpec([None], tf.string, name="examples")
        tensors = {name: tf.TensorSpec([None], s.dtype, name) for name, s in self.raw_spec.items()}
        return {
            "serving_default": tf.function(self._from_examples).get_concrete_function(examples),
            "raw_features": tf.function(self._from_tensors).get_concrete_function(**tensors),
        }

    def _from_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._predict(tf.io.parse_example(examples, self.raw_spec))

    def _from_tensors(self, **columns: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._predict({name: tf.reshape(t, [-1, 1]) for name, t in columns.items()})

    def _predict(self, raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        transformed = self.transform_layer(raw)
        wanted = {name: transformed[name] for name in self.model.input}
        return {PROBABILITY: self.model(wanted, training=False)}


def run_fn(fn_args: FnArgs) -> None:
    """TFX's entry point: trains on the transformed examples and exports to serving_model_dir."""
    parameters = ModelParameters(**fn_args.custom_config.get("parameters", {}))
    keras.utils.set_random_seed(parameters.seed)
    transform = tft.TFTransformOutput(fn_args.transform_output)
    shuffled = {"shuffle_rows": parameters.shuffle_rows, "seed": parameters.seed}
    train = transformed_examples(
        fn_args.train_files, transform, features.LABEL, parameters.batch_size, **shuffled
    )
    evaluation = transformed_examples(
        fn_args.eval_files, transform, features.LABEL, 4 * parameters.batch_size
    )
    sizes = preprocessing.index_sizes(
        {name: transform.vocabulary_size_by_name(name) for name in features.CATEGORICAL}
    )
    spec = transform.transformed_feature_spec()
    width = spec[preprocessing.DENSE_VECTOR].shape[0]
    model = build_model(width, sizes, parameters, _click_rate(train))
    history = model.fit(
        train,
        validation_data=evaluation,
        epochs=parameters.epochs,
        callbacks=_callbacks(fn_args.model_run_dir, parameters),
        verbose=0,
    )
    _log.info("trained %d epochs", len(history.epoch))
    served = ServedModel(model, transform)
    tf.saved_model.save(served, fn_args.serving_model_dir, signatures=served.signatures())


def _click_rate(batches: tf.data.Dataset) -> float:
    """Share of clicks, kept off 0 and 1; this pass also fills the cache of the input."""
    start = (tf.constant(0.0), tf.constant(0.0))
    clicks, rows = batches.reduce(
        start,
        lambda total, batch: (
            total[0] + tf.reduce_sum(batch[1]),
            total[1] + tf.cast(tf.size(batch[1]), tf.float32),
        ),
    )
    return float((clicks + 1) / (rows + 2))


def _callbacks(folder: str, parameters: ModelParameters) -> list[keras.callbacks.Callback]:
    return [
        keras.callbacks.EarlyStopping(
            monitor="val_loss", patience=parameters.patience, restore_best_weights=True
        ),
        keras.callbacks.TensorBoard(str(Path(folder)), update_freq="epoch"),
        keras.callbacks.LambdaCallback(on_epoch_end=_log_epoch),
    ]


def _log_epoch(epoch: int, logs: dict[str, float]) -> None:
    _log.info("epoch %d: %s", epoch + 1, ", ".join(f"{k} {v:.4f}" for k, v in logs.items()))
