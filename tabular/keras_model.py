"""The Keras model: from transformed features to the probability of a click."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
import tf_keras as keras

from applications.ctr import features
from applications.ctr.parameters import PREDICTION, TrainerParameters
from tabular import preprocessing
from tabular.embedding_tables import EmbeddingTables, PrecomputedEmbedding, embedding_width
from tabular.networks import NETWORKS, ON_CLICKS, Encoded, RecentClicks
from tabular.training.rounds import Rounds
from tabular.training.schedule import WarmUpCosineDecay
from tabular.training.tracing import Network, as_written

layers = keras.layers
STEPS_AT_ONCE = 16  # in one call into TensorFlow: on two cores Python between steps costs a third


@as_written
def build_model(
    sizes: Mapping[str, int],
    dense_width: int,
    parameters: TrainerParameters,
    click_rate: float,
    precomputed: Mapping[str, np.ndarray] | None = None,
) -> keras.Model:
    """Model from transformed features to the probability of a click, [batch, 1]; not compiled.

    Args:
      sizes: transformed index feature -> number of indices.
      dense_width: length of the dense vector.
      parameters: which network, and its sizes.
      click_rate: of the training data; the output starts there instead of at one half.
      precomputed: see embeddings_of; all networks but logistic_regression take them.
    """
    inputs = _inputs(sizes, dense_width, parameters)
    encoded = _encoded(inputs, sizes, parameters, precomputed or {})
    log_odds = NETWORKS[parameters.model](encoded, parameters)
    bias = keras.initializers.Constant(math.log(click_rate / (1 - click_rate)))
    probability = layers.Dense(
        1, activation="sigmoid", kernel_initializer="ones", bias_initializer=bias, name=PREDICTION
    )
    return Network(inputs, probability(log_odds))


def compile_model(model: keras.Model, parameters: TrainerParameters, rounds: Rounds) -> None:
    """Optimizer and loss; within the scope of the strategy that `model` was made in."""
    warm_up = int(parameters.warm_up * rounds.steps * parameters.rounds_per_epoch)
    rate = WarmUpCosineDecay(parameters.peak_rate, warm_up, rounds.all_steps)
    steps = parameters.weight_averaging * rounds.steps
    average = {
        "use_ema": steps > 1,
        "ema_momentum": 1 - 1 / max(steps, 1),
        "ema_overwrite_frequency": None,  # see tabular/training/averaging.py
    }
    if parameters.optimizer == "adagrad":
        # The accumulator starts at almost nothing: a rare embedding's first step is a whole one.
        optimizer = keras.optimizers.Adagrad(rate, initial_accumulator_value=1e-6, **average)
    else:
        optimizer = keras.optimizers.Adam(rate, **average)
    model.compile(
        optimizer,
        loss=keras.losses.BinaryCrossentropy(),
        steps_per_execution=min(STEPS_AT_ONCE, rounds.steps),
    )


def input_names(sizes: Mapping[str, int], parameters: TrainerParameters) -> list[str]:
    """Transformed features that the network takes."""
    names = [preprocessing.DENSE_VECTOR, *sizes]
    if parameters.model in ON_CLICKS:
        names += [features.transformed(name) for name in features.SEQUENCES]
        names.append(features.transformed(features.RECENT_HOURS))
    return names


def _inputs(
    sizes: Mapping[str, int], dense_width: int, parameters: TrainerParameters
) -> dict[str, tf.Tensor]:
    inputs = {}
    for name in input_names(sizes, parameters):
        shape, kind = [], tf.int64
        if name == preprocessing.DENSE_VECTOR:
            shape, kind = [dense_width], tf.float32
        elif name not in sizes:
            shape = [features.RECENT.length]
            is_index = name != features.transformed(features.RECENT_HOURS)
            kind = tf.int64 if is_index else tf.float32
        inputs[name] = keras.Input(shape, dtype=kind, name=name)
    return inputs


def _encoded(
    inputs: dict[str, tf.Tensor],
    sizes: Mapping[str, int],
    parameters: TrainerParameters,
    precomputed: Mapping[str, np.ndarray],
) -> Encoded:
    indices = {name: inputs[name] for name in sizes}
    shared = {
        features.transformed(name): features.transformed(whose)
        for name, whose in features.SEQUENCES.items()
        if features.transformed(name) in inputs
    }
    lists = {name: inputs[name] for name in shared}
    tables = EmbeddingTables(sizes, embedding_width, shared, parameters.l2, name="embeddings")
    weights = EmbeddingTables(sizes, lambda _: 1, {}, name="weights")
    embedded = tables({**indices, **lists})
    fixed = {
        f"{name}_fixed": PrecomputedEmbedding(vectors, name=f"{name}_fixed")(inputs[name])
        for name, vectors in precomputed.items()
    }
    clicks = None
    if lists:
        hours = inputs[features.transformed(features.RECENT_HOURS)]
        clicks = RecentClicks(
            item=layers.Concatenate()([embedded[name] for name in shared.values()]),
            items=layers.Concatenate()([embedded[name] for name in shared]),
            facts=hours[:, :, tf.newaxis],
            present=next(iter(lists.values())) >= 0,
        )
    return Encoded(
        dense=inputs[preprocessing.DENSE_VECTOR],
        weights=lambda: list(weights(indices).values()),
        fields={**{name: embedded[name] for name in sizes}, **fixed},
        clicks=clicks,
    )
