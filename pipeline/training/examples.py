"""Transformed examples for training: sharded TFRecord files to batches, from any position on.

The order is a function of the files, the seed and the worker alone, so a run that starts again can
go on where it was: `batches(first_step)` skips what was read, without parsing it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from pipeline.training.distribution import ALONE, Shard

# Compressed size up to which a worker keeps records in memory, where they take 4 to 6 times that.
CACHE_BYTES = 400 << 20


class NoExamplesError(ValueError):
    """A split without examples."""


@dataclasses.dataclass(frozen=True)
class Examples:
    """The transformed examples of one split, or a worker's share of them.

    Attributes:
      files: gzipped TFRecord files, in order.
      spec: transformed features to parse, the label among them; others stay bytes.
      label: name of the label feature.
      shard: which share; of files where there are enough of them, else of records.
    """

    files: tuple[str, ...]
    spec: Mapping[str, Any]
    label: str
    shard: Shard = ALONE

    @classmethod
    def of(
        cls,
        split: str,
        patterns: Sequence[str],
        spec: Mapping[str, Any],
        label: str,
        shard: Shard = ALONE,
    ) -> Examples:
        """The examples of all files that match.

        Raises:
          NoExamplesError: no file matches.
        """
        files = sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))
        if not files:
            where = ", ".join(patterns)
            raise NoExamplesError(f"split {split} has no examples: no file matches {where}")
        return cls(tuple(files), spec, label, shard)

    @functools.cached_property
    def _records(self) -> tf.data.Dataset:
        """Serialized examples in a fixed order; read in parallel, kept in memory if they fit."""
        by_file = len(self.files) >= self.shard.count
        files = self.files[self.shard.index :: self.shard.count] if by_file else self.files
        records = tf.data.Dataset.from_tensor_slices(list(files)).interleave(
            lambda path: tf.data.TFRecordDataset(path, "GZIP", buffer_size=1 << 20),
            cycle_length=min(8, len(files)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        if not by_file:
            records = records.shard(self.shard.count, self.shard.index)
        fits = sum(tf.io.gfile.stat(file).length for file in files) <= CACHE_BYTES
        return records.cache() if fits else records

    @functools.cached_property
    def counts(self) -> tuple[int, int]:
        """(rows, rows whose label is positive) of this share: one pass, which fills the cache."""
        spec = {self.label: tf.io.FixedLenFeature([], tf.int64)}

        def add(total: tf.Tensor, serialized: tf.Tensor) -> tf.Tensor:
            labels = tf.io.parse_example(serialized, spec)[self.label]
            positive = tf.math.count_nonzero(labels > 0)
            return total + tf.stack([tf.size(labels, tf.int64), positive])

        rows, positive = self._records.batch(8192).reduce(tf.zeros([2], tf.int64), add).numpy()
        return int(rows), int(positive)

    def in_order(self, batch_size: int) -> tf.data.Dataset:
        """One pass in order; the last batch may be smaller."""
        return self._parsed(self._records, batch_size, drop_remainder=False)

    def shuffled(
        self, batch_size: int, buffer: int, seed: int, first_step: int = 0
    ) -> tf.data.Dataset:
        """Pass after pass without end, each shuffled in its own way, in full batches.

        Args:
          batch_size: rows a batch.
          buffer: rows to shuffle among; 0 for the order of the files.
          seed: of the shuffle.
          first_step: batches to leave out at the start.

        Raises:
          NoExamplesError: the share is empty.
        """
        rows = self.counts[0]
        if not rows:
            raise NoExamplesError(f"no rows for worker {self.shard} in {self.files}")
        passes, skipped = divmod(first_step * batch_size, rows)

        def one_pass(number: tf.Tensor) -> tf.data.Dataset:
            if not buffer:
                return self._records
            return self._records.shuffle(buffer, seed=seed + number, reshuffle_each_iteration=False)

        stream = tf.data.Dataset.range(passes, tf.int64.max).flat_map(one_pass).skip(skipped)
        return self._parsed(stream, batch_size, drop_remainder=True)

    def _parsed(
        self, records: tf.data.Dataset, batch_size: int, *, drop_remainder: bool
    ) -> tf.data.Dataset:
        """Batches of (dict of [batch, ...] tensors, [batch, 1] float label)."""

        def parse(serialized: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            parsed = tf.io.parse_example(serialized, self.spec)
            target = tf.cast(parsed.pop(self.label), tf.float32)
            return parsed, tf.reshape(target, [-1, 1])

        batches = records.batch(batch_size, drop_remainder=drop_remainder)
        return batches.map(parse, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
