"""The Transform step: one function, run over the data once and compiled into the served graph.

Inputs are dense tensors of shape [batch, 1] (the schema says so), but for the lists: sparse, any
number of values a row. Outputs:

    dense_xf          float32 [batch, n]  all scaled features in one vector
    NAME_xf           int64   [batch]     index of a category, a bucket, a position or a cross
    recent_NAME_xf    int64   [batch, 10] the same indices, most recent click first; -1: no click
    recent_hours_xf   float32 [batch, 10] log(1 + hours since each click); 0 where there is none
    clicked           int64   [batch]     the label, unchanged

Finite inputs give finite outputs, whatever they are: a served model refuses NaN and infinity
(tabular/training/finite.py), and answers the rest. What cannot be negative counts as 0 if it is,
as in the ETL.
"""

from __future__ import annotations

import tensorflow as tf
import tensorflow_transform as tft

from applications.ctr import features

DENSE_VECTOR = "dense_xf"
NO_CLICK = -1  # no tensor: at import there may be none before the workers have met
_LARGEST = 1e9  # of a feature that is scaled without a logarithm: its variance has to fit a float32


def preprocessing_fn(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """TFT's entry point; see the module's text for shapes."""
    lists = {name: _padded(inputs[name]) for name in (*features.SEQUENCES, features.RECENT_HOURS)}
    columns = {
        name: tf.squeeze(tensor, axis=1) for name, tensor in inputs.items() if name not in lists
    }
    columns |= {name: tf.maximum(columns[name], 0) for name in features.LOG_DENSE}
    recency = {name: hours_since(lists, columns, *of) for name, of in features.RECENCY.items()}
    outputs = {features.LABEL: columns[features.LABEL], DENSE_VECTOR: _dense(columns | recency)}
    vocabularies = {}
    for name, size in features.CATEGORICAL.items():
        vocabularies[name] = tft.vocabulary(columns[name], top_k=size, vocab_filename=name)
        outputs[features.transformed(name)] = _index(columns[name], vocabularies[name])
    for name, shared in features.SEQUENCES.items():
        index = _index(lists[name], vocabularies[shared])
        outputs[features.transformed(name)] = tf.where(
            lists[name] == "", tf.constant(NO_CLICK, tf.int64), index
        )
    hours = tf.math.log1p(tf.maximum(lists[features.RECENT_HOURS], 0.0))
    outputs[features.transformed(features.RECENT_HOURS)] = hours
    for name, buckets in features.BUCKETIZED.items():
        outputs[bucket_name(name)] = tft.bucketize(columns[name], num_buckets=buckets)
    for name, hours in recency.items():
        buckets = features.RECENCY_BUCKETS
        outputs[bucket_name(name)] = tft.bucketize(hours, num_buckets=buckets)
    for name, size in features.ORDINAL.items():
        outputs[features.transformed(name)] = tf.clip_by_value(columns[name], 0, size - 1)
    for names, buckets in features.CROSSES.items():
        outputs[cross_name(names)] = _cross(columns, names, buckets)
    return outputs


def bucket_name(name: str) -> str:
    return features.transformed(f"{name}_bucket")


def cross_name(names: tuple[str, ...]) -> str:
    return features.transformed("_x_".join(names))


def index_sizes(vocabulary_size: dict[str, int]) -> dict[str, int]:
    """Transformed index feature -> number of different indices.

    Args:
      vocabulary_size: raw categorical feature -> size of the vocabulary that Transform found.
    """
    sizes = {
        features.transformed(name): vocabulary_size[name] + features.OOV_BUCKETS
        for name in features.CATEGORICAL
    }
    sizes |= {bucket_name(name): buckets for name, buckets in features.BUCKETIZED.items()}
    sizes |= {bucket_name(name): features.RECENCY_BUCKETS for name in features.RECENCY}
    sizes |= {features.transformed(name): size for name, size in features.ORDINAL.items()}
    sizes |= {cross_name(names): buckets for names, buckets in features.CROSSES.items()}
    return sizes


def _index(values: tf.Tensor, vocabulary: tf.Tensor) -> tf.Tensor:
    """Index in the vocabulary, or of an out-of-vocabulary bucket behind it; of any shape."""
    return tft.apply_vocabulary(values, vocabulary, num_oov_buckets=features.OOV_BUCKETS)


def _padded(values: tf.SparseTensor) -> tf.Tensor:
    """[batch, length of the sequence]: longer lists are cut, shorter ones filled with "" or 0."""
    length = features.RECENT.length
    empty = "" if values.dtype == tf.string else 0
    dense = tf.sparse.to_dense(values, default_value=empty)[:, :length]
    missing = length - tf.shape(dense)[1]
    filled = tf.pad(dense, [[0, 0], [0, missing]], constant_values=empty)
    return tf.ensure_shape(filled, [None, length])


def hours_since(
    lists: dict[str, tf.Tensor], columns: dict[str, tf.Tensor], name: str, shown: str
) -> tf.Tensor:
    """[batch]: hours since the last click in list `name` on what is shown, NEVER_HOURS at most."""
    same = (lists[name] == columns[shown][:, tf.newaxis]) & (lists[name] != "")
    hours = tf.where(same, lists[features.RECENT_HOURS], features.NEVER_HOURS)
    return tf.clip_by_value(tf.reduce_min(hours, axis=1), 0.0, features.NEVER_HOURS)


def _dense(columns: dict[str, tf.Tensor]) -> tf.Tensor:
    """Scaled features side by side: one analyzer for all means and variances."""
    plain = _side_by_side(columns, (*features.DENSE, *features.WINDOW_RATES))
    heavy = _side_by_side(
        columns, (*features.LOG_DENSE, *features.WINDOW_COUNTS, *features.RECENCY)
    )
    vector = tf.concat(
        [
            tf.clip_by_value(plain, -_LARGEST, _LARGEST),
            tf.math.log1p(tf.maximum(heavy, 0.0)),
        ],
        axis=1,
    )
    # Clipped: one absurd price must not saturate the cross layers.
    return tf.clip_by_value(tft.scale_to_z_score(vector, elementwise=True), -8.0, 8.0)


def _side_by_side(columns: dict[str, tf.Tensor], names: tuple[str, ...]) -> tf.Tensor:
    return tf.stack([tf.cast(columns[name], tf.float32) for name in names], axis=1)


def _cross(columns: dict[str, tf.Tensor], names: tuple[str, ...], buckets: int) -> tf.Tensor:
    texts = [_as_text(columns, name) for name in names]
    return tft.hash_strings(tf.strings.join(texts, separator="|"), hash_buckets=buckets)


def _as_text(columns: dict[str, tf.Tensor], name: str) -> tf.Tensor:
    if name == "age_band":
        bands = tft.apply_buckets(columns["age"], tf.constant([features.AGE_BANDS]))
        return tf.strings.as_string(bands)
    column = columns[name]
    return column if column.dtype == tf.string else tf.strings.as_string(column)
