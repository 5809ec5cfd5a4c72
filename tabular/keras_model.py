"""Builds and compiles the Keras model from transformed features to the prediction."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from tabular.embedding_tables import EmbeddingTables, PrecomputedEmbedding, embedding_width
from tabular.feature_set import FeatureSet, transformed
from tabular.feature_set import Sequence as DeclaredSequence
from tabular.labels import LabelSummary, weights_of_classes
from tabular.networks import NETWORKS, EncodedFeatures, EncodedSequence
from tabular.parameters import ON_SEQUENCES, TrainerParameters
from tabular.preprocessing import DENSE_VECTOR
from tabular.tasks import task_of
from tabular.training.rounds import Rounds
from tabular.training.tracing import Network, without_autograph

layers = keras.layers
STEPS_AT_ONCE = 16  # per call into TensorFlow; on two cores, Python between steps costs a third
_LAST_RATE = 0.1  # learning rate at the end of the decay, as a share of the peak


@without_autograph  # type: ignore[untyped-decorator]
def build_model(
    features: FeatureSet,
    sizes: Mapping[str, int],
    dense_width: int,
    parameters: TrainerParameters,
    labels: LabelSummary,
    precomputed: Mapping[str, NDArray[np.float32]] | None = None,
) -> keras.Model:
    """Builds a model from transformed features to the prediction, [batch, 1 or classes].

    Args:
      features: Declared features.
      sizes: Transformed index feature -> number of indices.
      dense_width: Length of the dense vector; 0 if there is none.
      parameters: Network and its sizes.
      labels: Labels of the training data, at whose mean the output starts.
      precomputed: Transformed index feature -> vectors of an earlier step, float32
        [number of indices, width]. Every network except logistic_regression takes them.

    Returns:
      Model that is not compiled yet.
    """
    inputs = _inputs(features, sizes, dense_width, parameters)
    task = task_of(features)
    encoded = _encoded(features, inputs, sizes, parameters, precomputed or {}, task.outputs(labels))
    found = NETWORKS[parameters.model](encoded, parameters)
    return Network(inputs, task.output(features, labels)(found))


def compile_model(
    model: keras.Model,
    features: FeatureSet,
    parameters: TrainerParameters,
    rounds: Rounds,
    labels: LabelSummary,
) -> None:
    """Sets optimizer and loss. Call it in the scope of the strategy that `model` was built in."""
    task = task_of(features)
    rate = learning_rate(parameters, rounds)
    steps = parameters.weight_averaging * rounds.steps_per_round
    average = {
        "use_ema": steps > 1,
        "ema_momentum": 1 - 1 / max(steps, 1),
        "ema_overwrite_frequency": None,  # see tabular/training/averaging.py
    }
    if parameters.optimizer == "adagrad":
        # A tiny initial accumulator gives a rare embedding a full first step.
        optimizer = keras.optimizers.Adagrad(rate, initial_accumulator_value=1e-6, **average)
    else:
        optimizer = keras.optimizers.Adam(rate, **average)
    model.compile(
        optimizer,
        loss=task.loss(weights_of_classes(parameters.class_weights, labels)),
        loss_weights=[task.loss_weight(labels)],
        steps_per_execution=min(STEPS_AT_ONCE, rounds.steps_per_round),
    )


def learning_rate(
    parameters: TrainerParameters, rounds: Rounds
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Returns a linear warm-up followed by a cosine decay to a tenth of the peak.

    Warm-up keeps Adam's first steps small while its second moments come from few batches. The decay
    is one cycle of Loshchilov and Hutter, "SGDR" (2017).
    """
    warm_up = int(parameters.warm_up * rounds.steps_per_round * parameters.rounds_per_epoch)
    warm_up = min(warm_up, rounds.total_steps - 1)
    return keras.optimizers.schedules.CosineDecay(
        parameters.peak_rate / max(1, warm_up),  # where the warm-up begins
        rounds.total_steps - warm_up,
        alpha=_LAST_RATE,
        warmup_target=parameters.peak_rate,
        warmup_steps=warm_up,
    )


def input_names(
    features: FeatureSet, sizes: Mapping[str, int], parameters: TrainerParameters
) -> list[str]:
    """Returns the names of the transformed features that the network takes."""
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
    precomputed: Mapping[str, NDArray[np.float32]],
    outputs: int,
) -> EncodedFeatures:
    indices = {name: inputs[name] for name in sizes}
    sequences = features.sequences if parameters.model in ON_SEQUENCES else ()
    shared = {
        transformed(name): transformed(whose)
        for sequence in sequences
        for name, whose in sequence.columns.items()
    }
    lists = {name: inputs[name] for name in shared}
    tables = EmbeddingTables(sizes, embedding_width, shared, parameters.l2, name="embeddings")
    weights = EmbeddingTables(sizes, lambda _: outputs, {}, name="weights")
    embedded = tables({**indices, **lists}) if indices else {}
    fixed = {
        f"{name}_fixed": PrecomputedEmbedding(vectors, name=f"{name}_fixed")(inputs[name])
        for name, vectors in precomputed.items()
    }
    return EncodedFeatures(
        dense=inputs.get(DENSE_VECTOR),
        weights=lambda: list(weights(indices).values()) if indices else [],
        fields={**{name: embedded[name] for name in sizes}, **fixed},
        sequences=[_sequence(one, inputs, embedded) for one in sequences],
        outputs=outputs,
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
