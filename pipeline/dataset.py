"""Transformed examples for training: sharded TFRecord files to batches of tensors."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
import tensorflow_transform as tft


def transformed_examples(
    file_patterns: Sequence[str],
    transform: tft.TFTransformOutput,
    label: str,
    batch_size: int,
    *,
    shuffle_rows: int = 0,
    seed: int = 0,
) -> tf.data.Dataset:
    """Batches of (features, label), one pass over the files.

    Files are read in parallel, records are cached in memory as bytes after the first pass, shuffled
    before batching (a buffer of `shuffle_rows`; 0: in order), and parsed a batch at a time.

    Args:
      file_patterns: globs of gzipped TFRecord files.
      transform: gives the transformed feature spec.
      label: name of the label feature.
      batch_size: rows a batch.
      shuffle_rows: size of the shuffle buffer.
      seed: of the shuffle.

    Returns:
      Dataset of (dict of [batch, ...] tensors, [batch, 1] float label).
    """
    spec = transform.transformed_feature_spec()
    files = tf.data.Dataset.list_files(list(file_patterns), shuffle=False)
    records = files.interleave(
        lambda path: tf.data.TFRecordDataset(path, compression_type="GZIP"),
        cycle_length=tf.data.AUTOTUNE,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    ).cache()
    if shuffle_rows:
        records = records.shuffle(shuffle_rows, seed=seed, reshuffle_each_iteration=True)

    def parse(serialized: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        parsed = tf.io.parse_example(serialized, spec)
        target = tf.cast(parsed.pop(label), tf.float32)
        return parsed, tf.reshape(target, [-1, 1])

    batches = records.batch(batch_size).map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    return batches.prefetch(tf.data.AUTOTUNE)
