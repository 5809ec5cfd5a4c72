"""Preprocessing for the Transform step, which is also compiled into the served graph.

Inputs are dense tensors [batch, 1], as the schema declares them. Lists are sparse tensors with any
number of values per row. The outputs of a FeatureSet:

    dense_xf              float32 [batch, n]       all scaled numbers in one vector
    NAME_xf               int64   [batch]          index of a category or an ordinal
    NAME_bucket_xf        int64   [batch]          index of the bucket of a number or a recency
    NAME_x_NAME_xf        int64   [batch]          index of a cross
    LIST_xf               int64   [batch, length]  indices of a sequence's events; -1 is no event
    AGES_xf               float32 [batch, length]  log(1 + age of each event); 0 where there is none
    LABEL                 as in the schema [batch] the label, unchanged
    WEIGHT                float32 [batch]          the weight, if there is one

Every finite input gives a finite output. A served model rejects NaN and infinity
(tabular/training/finite.py) and answers everything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from tabular.feature_set import (
    FEATURES,
    Bands,
    Categorical,
    Cross,
    FeatureSet,
    Recency,
    transformed,
)

DENSE_VECTOR = "dense_xf"
NO_EVENT = -1  # not a tensor, because TensorFlow allows none before the workers are connected
_LARGEST = 1e9  # bound of numbers scaled without a logarithm, so that a float32 holds the variance
_CLIP = 8.0  # bound of scaled numbers, so that one absurd value cannot saturate the cross layers


def preprocessing_fn(
    inputs: dict[str, tf.Tensor], custom_config: Mapping[str, Any]
) -> dict[str, tf.Tensor]:
    """Transforms a batch. TFX calls it with FeatureSet.to_json() in custom_config."""
    return preprocess(inputs, FeatureSet.from_json(custom_config[FEATURES]))


def preprocess(inputs: Mapping[str, Any], features: FeatureSet) -> dict[str, tf.Tensor]:
    """Transforms a batch, within TensorFlow Transform.

    Args:
      inputs: Raw feature -> dense tensor [batch, 1], or a sparse one for a list.
      features: Declared features.

    Returns:
      The outputs that the module's docstring lists.

    Raises:
      ValueError: A declared feature is not among the inputs.
    """
    missing = [name for name in features.columns if name not in inputs]
    if missing:
        raise ValueError(
            f"the schema must have every declared feature. Missing: {', '.join(missing)}"
        )
    lists = {
        name: padded(inputs[name], sequence.length) for name, sequence in features.lists.items()
    }
    columns = {
        name: tf.squeeze(inputs[name], axis=1) for name in (features.label, *features.single_values)
    }
    columns |= {
        one.name: tf.maximum(columns[one.name], 0) for one in features.numeric if one.log
    }  # a negative value counts as 0, also for the buckets
    ages = {one.name: age_of(one, features, lists, columns) for one in features.recencies}

    outputs = {features.label: columns[features.label]}
    if features.weight is not None:
        outputs[features.weight] = _weight(features.weight, inputs[features.weight])
    dense = _dense(features, columns | ages)
    if dense is not None:
        outputs[DENSE_VECTOR] = dense
    vocabularies: dict[str, tf.Tensor] = {}
    for category in features.categorical:
        column = _as_text(columns[category.name])
        if category.vocabulary is not None:
            vocabularies[category.name] = tft.vocabulary(
                column, top_k=category.vocabulary, vocab_filename=category.name
            )
        outputs[transformed(category.name)] = _index(column, category, vocabularies)
    outputs |= _sequences(features, lists, vocabularies)
    for number in features.numeric:
        if number.buckets is not None:
            outputs[bucket_name(number.name)] = tft.bucketize(columns[number.name], number.buckets)
    for recency in features.recencies:
        outputs[bucket_name(recency.name)] = tft.bucketize(ages[recency.name], recency.buckets)
    for ordinal in features.ordinal:
        index = tf.clip_by_value(columns[ordinal.name], 0, ordinal.size - 1)
        outputs[transformed(ordinal.name)] = index
    for cross in features.crosses:
        outputs[transformed(cross.name)] = _crossed(columns, cross)
    return outputs


def bucket_name(name: str) -> str:
    """Returns the name of the transformed feature with a number's bucket."""
    return transformed(f"{name}_bucket")


def index_sizes(features: FeatureSet, vocabulary_sizes: Mapping[str, int]) -> dict[str, int]:
    """Returns the number of different indices of each transformed index feature.

    Args:
      features: Declared features.
      vocabulary_sizes: Categorical feature with a vocabulary -> its size after Transform.
    """
    sizes = {}
    for category in features.categorical:
        if category.hash_buckets is not None:
            sizes[transformed(category.name)] = category.hash_buckets
        else:
            known = vocabulary_sizes[category.name]
            sizes[transformed(category.name)] = known + category.oov_buckets
    sizes |= {bucket_name(one.name): one.buckets for one in features.numeric if one.buckets}
    sizes |= {bucket_name(one.name): one.buckets for one in features.recencies}
    sizes |= {transformed(one.name): one.size for one in features.ordinal}
    sizes |= {transformed(one.name): one.hash_buckets for one in features.crosses}
    return sizes


def hours_since_last(
    events: tf.Tensor, ages: tf.Tensor, current: tf.Tensor, longest: float
) -> tf.Tensor:
    """Returns the time since each row's value last occurred among its events, [batch].

    Args:
      events: Values of the events, text [batch, n]; "" where there is no event.
      ages: Age of each event, [batch, n].
      current: Value of the row itself, text [batch].
      longest: Result for a value that never occurred, and the largest result.
    """
    same = (events == current[:, tf.newaxis]) & (events != "")
    found = tf.where(same, ages, longest)
    return tf.clip_by_value(tf.reduce_min(found, axis=1), 0.0, longest)


def age_of(
    recency: Recency,
    features: FeatureSet,
    lists: Mapping[str, tf.Tensor],
    columns: Mapping[str, tf.Tensor],
) -> tf.Tensor:
    """Returns the values of a Recency, [batch].

    Args:
      recency: Declared feature.
      features: FeatureSet that it is one of.
      lists: Raw list feature -> its padded values, [batch, length].
      columns: Raw feature with one value per row -> its values, [batch].
    """
    sequence = features.sequence_of(recency.column)
    assert sequence.ages is not None
    current = _as_text(columns[sequence.columns[recency.column]])
    events = _as_text(lists[recency.column])
    return hours_since_last(events, lists[sequence.ages], current, recency.longest)


def padded(values: tf.SparseTensor, length: int) -> tf.Tensor:
    """Cuts longer lists and fills shorter ones with "" or 0, to [batch, length]."""
    empty: str | int = "" if values.dtype == tf.string else 0
    dense = tf.sparse.to_dense(values, default_value=empty)[:, :length]
    missing = length - tf.shape(dense)[1]
    filled = tf.pad(dense, [[0, 0], [0, missing]], constant_values=empty)
    return tf.ensure_shape(filled, [None, length])


def _weight(name: str, values: tf.Tensor | tf.SparseTensor) -> tf.Tensor:
    if isinstance(values, tf.SparseTensor) or values.dtype == tf.string:
        raise ValueError(
            f"the weight {name} must have one number in every example: give it a numeric type, "
            "`presence { min_fraction: 1 }` and `shape { dim { size: 1 } }` in the schema"
        )
    return tf.cast(tf.squeeze(values, axis=1), tf.float32)


def _sequences(
    features: FeatureSet,
    lists: Mapping[str, tf.Tensor],
    vocabularies: Mapping[str, tf.Tensor],
) -> dict[str, tf.Tensor]:
    categories = {one.name: one for one in features.categorical}
    outputs = {}
    for sequence in features.sequences:
        for name, shared in sequence.columns.items():
            index = _index(lists[name], categories[shared], vocabularies)
            no_event = tf.constant(NO_EVENT, tf.int64)
            outputs[transformed(name)] = tf.where(lists[name] == "", no_event, index)
        if sequence.ages is not None:
            ages = tf.maximum(lists[sequence.ages], 0.0)
            outputs[transformed(sequence.ages)] = tf.math.log1p(ages)
    return outputs


def _index(
    values: tf.Tensor, category: Categorical, vocabularies: Mapping[str, tf.Tensor]
) -> tf.Tensor:
    """Returns the index in the vocabulary, or the hash bucket, of each text of any shape."""
    if category.hash_buckets is not None:
        return tft.hash_strings(values, category.hash_buckets)
    vocabulary = vocabularies[category.name]
    return tft.apply_vocabulary(values, vocabulary, num_oov_buckets=category.oov_buckets)


def _dense(features: FeatureSet, columns: Mapping[str, tf.Tensor]) -> tf.Tensor | None:
    """Returns the scaled numbers side by side, [batch, n]; None if there are none.

    Numbers without a logarithm come first. One analyzer finds all means and variances.
    """
    plain = [one.name for one in features.numeric if one.scale and not one.log]
    heavy = [one.name for one in features.numeric if one.scale and one.log]
    heavy += [one.name for one in features.recencies]
    parts = []
    if plain:
        parts.append(tf.clip_by_value(_side_by_side(columns, plain), -_LARGEST, _LARGEST))
    if heavy:
        parts.append(tf.math.log1p(tf.maximum(_side_by_side(columns, heavy), 0.0)))
    if not parts:
        return None
    scaled = tft.scale_to_z_score(tf.concat(parts, axis=1), elementwise=True)
    return tf.clip_by_value(scaled, -_CLIP, _CLIP)


def _side_by_side(columns: Mapping[str, tf.Tensor], names: Iterable[str]) -> tf.Tensor:
    return tf.stack([tf.cast(columns[name], tf.float32) for name in names], axis=1)


def _crossed(columns: Mapping[str, tf.Tensor], cross: Cross) -> tf.Tensor:
    texts = [_operand(columns, part) for part in cross.of]
    return tft.hash_strings(tf.strings.join(texts, separator="|"), cross.hash_buckets)


def _operand(columns: Mapping[str, tf.Tensor], part: str | Bands) -> tf.Tensor:
    if isinstance(part, str):
        return _as_text(columns[part])
    boundaries = tf.constant([part.boundaries])
    return _as_text(tft.apply_buckets(columns[part.of], boundaries))


def _as_text(column: tf.Tensor) -> tf.Tensor:
    return column if column.dtype == tf.string else tf.strings.as_string(column)
