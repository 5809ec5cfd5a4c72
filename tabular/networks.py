"""Networks from encoded features to one score, or one of each class, [B, outputs].

| name | what it is |
|---|---|
| logistic_regression | one weight per value of each feature, the field's baseline |
| wide_deep | logistic regression and a deep network (Cheng et al. 2016) |
| deepfm | wide_deep and all pairs of features (Guo et al. 2017) |
| dcn | explicit crosses and a deep network (DCN-v2, Wang et al. 2021) |
| din | attention over past events, followed by dcn (DIN, Zhou et al. 2018) |

Every network takes any FeatureSet, even one without numbers, without categories, or with a single
feature.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import tensorflow as tf
import tf_keras as keras

from tabular.layers import CrossLayer, FactorizationMachine, SequenceAttention
from tabular.parameters import TrainerParameters

layers = keras.layers
# A rare flag is many standard deviations from its mean, and cross layers multiply several of them.
# Without this bound, training with class weights on rare events diverged (docs/decisions.md).
_MOST = 4.0


@dataclasses.dataclass(frozen=True)
class EncodedSequence:
    """The past events of a row. B is the batch size, n the number of places for events.

    Attributes:
      current: Embedding of the row's own values, [B, w].
      events: Embeddings of the events' values, [B, n, w].
      facts: Numbers about each event, [B, n, f].
      present: Mask of the places with an event, bool [B, n].
    """

    current: tf.Tensor
    events: tf.Tensor
    facts: tf.Tensor
    present: tf.Tensor


@dataclasses.dataclass(frozen=True)
class EncodedFeatures:
    """The input of a network.

    Attributes:
      dense: Scaled numbers, [B, d]; None if there are none.
      weights: Function that makes learned weights [B, outputs] for the value of each indexed
        feature.
      fields: Feature -> its embedding, [B, width].
      sequences: Past events, for networks with attention.
      outputs: Number of scores of a row: 1, or the number of classes.
    """

    dense: tf.Tensor | None
    weights: Callable[[], list[tf.Tensor]]
    fields: dict[str, tf.Tensor]
    sequences: Sequence[EncodedSequence]
    outputs: int = 1


def logistic_regression(inputs: EncodedFeatures, sizes: TrainerParameters) -> tf.Tensor:
    terms = inputs.weights()
    if inputs.dense is not None:
        terms = [layers.Dense(inputs.outputs, use_bias=False, name="linear")(inputs.dense), *terms]
    return layers.Add()(terms) if len(terms) > 1 else terms[0]


def wide_deep(inputs: EncodedFeatures, sizes: TrainerParameters) -> tf.Tensor:
    deep = _deep(_everything(inputs), sizes)
    return logistic_regression(inputs, sizes) + _log_odds(deep, inputs.outputs)


def deepfm(inputs: EncodedFeatures, sizes: TrainerParameters) -> tf.Tensor:
    if len(inputs.fields) < 2:  # no pairs
        return wide_deep(inputs, sizes)
    # Fields of different widths are projected to one width, as in mixed-dimension embeddings.
    common = [
        layers.Dense(sizes.factors, use_bias=False, name=f"factors_{name}")(field)
        for name, field in inputs.fields.items()
    ]
    pairs = FactorizationMachine(inputs.outputs, name="pairs")(tf.stack(common, axis=1))
    return wide_deep(inputs, sizes) + pairs


def dcn(inputs: EncodedFeatures, sizes: TrainerParameters) -> tf.Tensor:
    return _crossed_and_deep(_everything(inputs), sizes, inputs.outputs)


def din(inputs: EncodedFeatures, sizes: TrainerParameters) -> tf.Tensor:
    parts = [_everything(inputs)]
    for number, sequence in enumerate(inputs.sequences):
        name = f"interest_{number}" if number else "interest"
        attention = SequenceAttention(sizes.attention_layers, name=name)
        interest = attention([sequence.current, sequence.events, sequence.facts, sequence.present])
        parts += [interest, interest * sequence.current]
    return _crossed_and_deep(layers.Concatenate()(parts), sizes, inputs.outputs)


NETWORKS: dict[str, Callable[[EncodedFeatures, TrainerParameters], tf.Tensor]] = {
    network.__name__: network for network in (logistic_regression, wide_deep, deepfm, dcn, din)
}


def _everything(inputs: EncodedFeatures) -> tf.Tensor:
    parts = [*inputs.fields.values()]
    if inputs.dense is not None:
        parts = [tf.clip_by_value(inputs.dense, -_MOST, _MOST), *parts]
    return layers.Concatenate()(parts) if len(parts) > 1 else parts[0]


def _deep(start: tf.Tensor, sizes: TrainerParameters) -> tf.Tensor:
    for number, units in enumerate(sizes.deep_layers):
        start = layers.Dense(units, activation="relu", name=f"deep_{number}")(start)
        start = layers.Dropout(sizes.dropout)(start)
    return start


def _crossed_and_deep(start: tf.Tensor, sizes: TrainerParameters, outputs: int) -> tf.Tensor:
    crossed = start
    for number in range(sizes.cross_layers):
        crossed = CrossLayer(name=f"cross_{number}")([start, crossed])
    return _log_odds(layers.Concatenate()([crossed, _deep(start, sizes)]), outputs)


def _log_odds(features: tf.Tensor, outputs: int) -> tf.Tensor:
    return layers.Dense(outputs, use_bias=False, name="log_odds")(features)
