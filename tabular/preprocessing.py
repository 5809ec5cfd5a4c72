"""The Transform step: one function, run over the data once and compiled into the served graph.

Inputs are dense tensors of shape [batch, 1] (the schema says so), except lists: those are sparse,
with any number of values a row. The outputs of a FeatureSet:

    dense_xf              float32 [batch, n]       all scaled numbers in one vector
    NAME_xf               int64   [batch]          index of a category or an ordinal
    NAME_bucket_xf        int64   [batch]          index of a number's or a recency's bucket
    NAME_x_NAME_xf        int64   [batch]          index of a cross
    LIST_xf               int64   [batch, length]  indices of a sequence's events; -1: no event
    AGES_xf               float32 [batch, length]  log(1 + age of each event); 0 where there is none
    LABEL                 int64   [batch]          the label, unchanged

Finite inputs give finite outputs, whatever they are: a served model refuses NaN and infinity
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
NO_EVENT = -1  # a number, not a tensor: at import there may be none before the workers have met
_LARGEST = 1e9  # of a number that is scaled without a logarithm: its variance has to fit a float32
_CLIP = 8.0  # of scaled numbers: one absurd value must not saturate the cross layers


def preprocessing_fn(
    inputs: dict[str, tf.Tensor], custom_config: Mapping[str, Any]
) -> dict[str, tf.Tensor]:
    """Transforms a batch, as TFX calls it: custom_config has FeatureSet.to_json()."""
    return preprocess(inputs, FeatureSet.from_json(custom_config[FEATURES]))


def preprocess(inputs: Mapping[str, Any], features: FeatureSet) -> dict[str, tf.Tensor]:
    """Transforms a batch, within TensorFlow Transform.

    Args:
      inputs: Raw feature -> dense tensor [batch, 1], or a sparse one for a list.
      features: What to make of them.

    Returns:
      The outputs that the module's text lists.

    Raises:
      ValueError: A declared feature is not among the inputs.
    """
    missing = [name for name in (features.label, *features.columns) if name not in inputs]
    if missing:
        raise ValueError(
            f"features that are declared must be in the schema. Missing: {', '.join(missing)}"
        )
    lists = {
        name: _padded(inputs[name], sequence.length) for name, sequence in features.lists.items()
    }
    columns = {
        name: tf.squeeze(inputs[name], axis=1) for name in (features.label, *features.single_values)
    }
    columns |= {
        one.name: tf.maximum(columns[one.name], 0) for one in features.numeric if one.log
    }  # what cannot be negative counts as 0 if it is, for the buckets too
    ages = {one.name: _age(one, features, lists, columns) for one in features.recencies}

    outputs = {features.label: columns[features.label]}
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
    """Returns the name of the transformed feature that holds a number's bucket."""
    return transformed(f"{name}_bucket")


def index_sizes(features: FeatureSet, vocabulary_sizes: Mapping[str, int]) -> dict[str, int]:
    """Returns transformed index feature -> number of different indices.

    Args:
      features: The declarations.
      vocabulary_sizes: Categorical feature with a vocabulary -> size that Transform found.
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
    """Returns how long ago each row's value last occurred among its events, [batch].

    Args:
      events: Values of the events, text [batch, n]; "" where there is none.
      ages: Age of each event, [batch, n].
      current: The row's own value, text [batch].
      longest: The result where the value never occurred; no result is larger.
    """
    same = (events == current[:, tf.newaxis]) & (events != "")
    found = tf.where(same, ages, longest)
    return tf.clip_by_value(tf.reduce_min(found, axis=1), 0.0, longest)


def _age(
    recency: Recency,
    features: FeatureSet,
    lists: Mapping[str, tf.Tensor],
    columns: Mapping[str, tf.Tensor],
) -> tf.Tensor:
    sequence = features.sequence_of(recency.column)
    assert sequence.ages is not None
    current = _as_text(columns[sequence.columns[recency.column]])
    events = _as_text(lists[recency.column])
    return hours_since_last(events, lists[sequence.ages], current, recency.longest)


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
    """Returns the index of each text, of any shape: in the vocabulary, or of a hash bucket."""
    if category.hash_buckets is not None:
        return tft.hash_strings(values, category.hash_buckets)
    vocabulary = vocabularies[category.name]
    return tft.apply_vocabulary(values, vocabulary, num_oov_buckets=category.oov_buckets)


def _padded(values: tf.SparseTensor, length: int) -> tf.Tensor:
    """Returns [batch, length]: longer lists are cut, shorter ones filled with "" or 0."""
    empty: str | int = "" if values.dtype == tf.string else 0
    dense = tf.sparse.to_dense(values, default_value=empty)[:, :length]
    missing = length - tf.shape(dense)[1]
    filled = tf.pad(dense, [[0, 0], [0, missing]], constant_values=empty)
    return tf.ensure_shape(filled, [None, length])


def _dense(features: FeatureSet, columns: Mapping[str, tf.Tensor]) -> tf.Tensor | None:
    """Returns the scaled numbers side by side, [batch, n]; None if there is none.

    One analyzer finds all means and variances. Those without a logarithm stand first.
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
