"""The Keras model: from transformed features to the probability of label 1."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tabular.embedding_tables import EmbeddingTables, PrecomputedEmbedding, embedding_width
from tabular.feature_set import FeatureSet, transformed
from tabular.feature_set import Sequence as DeclaredSequence
from tabular.networks import NETWORKS, Encoded, EncodedSequence
from tabular.parameters import ON_SEQUENCES, PREDICTION, TrainerParameters
from tabular.preprocessing import DENSE_VECTOR
from tabular.training.rounds import Rounds
from tabular.training.tracing import Network, as_written

layers = keras.layers
STEPS_AT_ONCE = 16  # in one call into TensorFlow: on two cores Python between steps costs a third
_LAST_RATE = 0.1  # of the peak, at the end of the decay


@as_written
def build_model(
    features: FeatureSet,
    sizes: Mapping[str, int],
    dense_width: int,
    parameters: TrainerParameters,
    base_rate: float,
    precomputed: Mapping[str, np.ndarray] | None = None,
) -> keras.Model:
    """Builds a model from transformed features to the probability of label 1, [batch, 1].

    Args:
      features: The declarations.
      sizes: Transformed index feature -> number of indices.
      dense_width: Length of the dense vector; 0 if there is none.
      parameters: Which network, and its sizes.
      base_rate: Share of label 1 in the training data; the output starts there.
      precomputed: Transformed index feature -> vectors learned beforehand, float32
        [number of indices, width]; all networks but logistic_regression take them.

    Returns:
      The model, not compiled.
    """
    inputs = _inputs(features, sizes, dense_width, parameters)
    encoded = _encoded(features, inputs, sizes, parameters, precomputed or {})
    log_odds = NETWORKS[parameters.model](encoded, parameters)
    bias = keras.initializers.Constant(math.log(base_rate / (1 - base_rate)))
    probability = layers.Dense(
        1, activation="sigmoid", kernel_initializer="ones", bias_initializer=bias, name=PREDICTION
    )
    return Network(inputs, probability(log_odds))


def compile_model(model: keras.Model, parameters: TrainerParameters, rounds: Rounds) -> None:
    """Sets optimizer and loss; within the scope of the strategy that `model` was made in."""
    rate = learning_rate(parameters, rounds)
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


def learning_rate(
    parameters: TrainerParameters, rounds: Rounds
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Returns the rate over the steps of a run: a linear warm-up, then a cosine down to a tenth.

    Warm-up keeps Adam's first steps small, while its second moments are those of a few batches; the
    decay is one cycle of Loshchilov and Hutter, "SGDR" (2017).
    """
    warm_up = int(parameters.warm_up * rounds.steps * parameters.rounds_per_epoch)
    warm_up = min(warm_up, rounds.all_steps - 1)
    return keras.optimizers.schedules.CosineDecay(
        parameters.peak_rate / max(1, warm_up),  # where the warm-up begins
        rounds.all_steps - warm_up,
        alpha=_LAST_RATE,
        warmup_target=parameters.peak_rate,
        warmup_steps=warm_up,
    )


def input_names(
    features: FeatureSet, sizes: Mapping[str, int], parameters: TrainerParameters
) -> list[str]:
    """Returns the transformed features that the network takes."""
    has_dense = any(one.scale for one in features.numeric) or features.recencies
    names = [*([DENSE_VECTOR] if has_dense else []), *sizes]
    if parameters.model in ON_SEQUENCES:
        names += [transformed(name) for name in features.lists]
    return names


def _inputs(
    features: FeatureSet,
    sizes: Mapping[str, int],
    dense_width: int,
    parameters: TrainerParameters,
) -> dict[str, tf.Tensor]:
    lists = {transformed(name): sequence for name, sequence in features.lists.items()}
    inputs = {}
    for name in input_names(features, sizes, parameters):
        shape, kind = [], tf.int64
        if name == DENSE_VECTOR:
            shape, kind = [dense_width], tf.float32
        elif name in lists:
            sequence = lists[name]
            shape = [sequence.length]
            is_age = sequence.ages is not None and name == transformed(sequence.ages)
            kind = tf.float32 if is_age else tf.int64
        inputs[name] = keras.Input(shape, dtype=kind, name=name)
    return inputs


def _encoded(
    features: FeatureSet,
    inputs: dict[str, tf.Tensor],
    sizes: Mapping[str, int],
    parameters: TrainerParameters,
    precomputed: Mapping[str, np.ndarray],
) -> Encoded:
    indices = {name: inputs[name] for name in sizes}
    sequences = features.sequences if parameters.model in ON_SEQUENCES else ()
    shared = {
        transformed(name): transformed(whose)
        for sequence in sequences
        for name, whose in sequence.columns.items()
    }
    lists = {name: inputs[name] for name in shared}
    tables = EmbeddingTables(sizes, embedding_width, shared, parameters.l2, name="embeddings")
    weights = EmbeddingTables(sizes, lambda _: 1, {}, name="weights")
    embedded = tables({**indices, **lists}) if indices else {}
    fixed = {
        f"{name}_fixed": PrecomputedEmbedding(vectors, name=f"{name}_fixed")(inputs[name])
        for name, vectors in precomputed.items()
    }
    return Encoded(
        dense=inputs.get(DENSE_VECTOR),
        weights=lambda: list(weights(indices).values()) if indices else [],
        fields={**{name: embedded[name] for name in sizes}, **fixed},
        sequences=[_sequence(one, inputs, embedded) for one in sequences],
    )


def _sequence(
    declared: DeclaredSequence, inputs: Mapping[str, tf.Tensor], embedded: Mapping[str, tf.Tensor]
) -> EncodedSequence:
    lists = [transformed(name) for name in declared.columns]
    current = [embedded[transformed(whose)] for whose in declared.columns.values()]
    events = [embedded[name] for name in lists]
    present = inputs[lists[0]] >= 0
    facts = tf.cast(present, tf.float32)
    if declared.ages is not None:
        facts = inputs[transformed(declared.ages)]
    return EncodedSequence(
        current=layers.Concatenate()(current) if len(current) > 1 else current[0],
        events=layers.Concatenate()(events) if len(events) > 1 else events[0],
        facts=facts[:, :, tf.newaxis],
        present=present,
    )
