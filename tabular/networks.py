"""Networks for click-through rate, from encoded features to the log-odds of a click, [B, 1].

| name | what it is |
|---|---|
| logistic_regression | a weight for each value of each feature; the baseline of the field |
| wide_deep | that, beside a deep network: Cheng et al. 2016 |
| deepfm | that, beside all pairs of features: Guo et al. 2017 |
| dcn | explicit crosses beside a deep network: DCN-v2, Wang et al. 2021 |
| din | attention over the user's recent clicks, then as dcn: DIN, Zhou et al. 2018 |
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import tensorflow as tf
import tf_keras as keras

from applications.ctr.parameters import TrainerParameters
from tabular.layers import CrossLayer, FactorizationMachine, InterestAttention

layers = keras.layers


@dataclasses.dataclass(frozen=True)
class RecentClicks:
    """The user's recent clicks beside the item that is shown; B is the batch, n their number.

    Attributes:
      item: [B, w], what the item is.
      items: [B, n, w], what was clicked.
      facts: [B, n, f], facts about each click.
      present: bool [B, n], which places hold a click.
    """

    item: tf.Tensor
    items: tf.Tensor
    facts: tf.Tensor
    present: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Encoded:
    """What a network starts from.

    Attributes:
      dense: [B, d], the scaled features.
      weights: makes a learned weight [B, 1] for each feature's value.
      fields: feature -> [B, width of its embedding].
      clicks: of networks that look at them.
    """

    dense: tf.Tensor
    weights: Callable[[], list[tf.Tensor]]
    fields: dict[str, tf.Tensor]
    clicks: RecentClicks | None


def logistic_regression(inputs: Encoded, sizes: TrainerParameters) -> tf.Tensor:
    linear = layers.Dense(1, use_bias=False, name="linear")(inputs.dense)
    return layers.Add()([linear, *inputs.weights()])


def wide_deep(inputs: Encoded, sizes: TrainerParameters) -> tf.Tensor:
    deep = _deep(_everything(inputs), sizes)
    return logistic_regression(inputs, sizes) + _log_odds(deep)


def deepfm(inputs: Encoded, sizes: TrainerParameters) -> tf.Tensor:
    # Fields of different widths meet in a common one, as in mixed-dimension embeddings.
    common = [
        layers.Dense(sizes.factors, use_bias=False, name=f"factors_{name}")(field)
        for name, field in inputs.fields.items()
    ]
    pairs = FactorizationMachine(name="pairs")(tf.stack(common, axis=1))
    return wide_deep(inputs, sizes) + pairs


def dcn(inputs: Encoded, sizes: TrainerParameters) -> tf.Tensor:
    return _crossed_and_deep(_everything(inputs), sizes)


def din(inputs: Encoded, sizes: TrainerParameters) -> tf.Tensor:
    clicks = inputs.clicks
    assert clicks is not None
    attention = InterestAttention(sizes.attention_layers, name="interest")
    interest = attention([clicks.item, clicks.items, clicks.facts, clicks.present])
    start = layers.Concatenate()([_everything(inputs), interest, interest * clicks.item])
    return _crossed_and_deep(start, sizes)


NETWORKS: dict[str, Callable[[Encoded, TrainerParameters], tf.Tensor]] = {
    network.__name__: network for network in (logistic_regression, wide_deep, deepfm, dcn, din)
}
ON_CLICKS = (din.__name__,)  # those that look at the recent clicks


def _everything(inputs: Encoded) -> tf.Tensor:
    return layers.Concatenate()([inputs.dense, *inputs.fields.values()])


def _deep(start: tf.Tensor, sizes: TrainerParameters) -> tf.Tensor:
    for number, units in enumerate(sizes.deep_layers):
        start = layers.Dense(units, activation="relu", name=f"deep_{number}")(start)
        start = layers.Dropout(sizes.dropout)(start)
    return start


def _crossed_and_deep(start: tf.Tensor, sizes: TrainerParameters) -> tf.Tensor:
    crossed = start
    for number in range(sizes.cross_layers):
        crossed = CrossLayer(name=f"cross_{number}")([start, crossed])
    return _log_odds(layers.Concatenate()([crossed, _deep(start, sizes)]))


def _log_odds(features: tf.Tensor) -> tf.Tensor:
    return layers.Dense(1, use_bias=False, name="log_odds")(features)
