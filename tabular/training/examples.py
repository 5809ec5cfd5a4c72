"""Transformed examples for training: sharded TFRecord files to batches, from any position on.

The order is a function of the files, the seed and the worker alone, so a run that starts again can
go on where it was: `shuffled(first_step=...)` skips what was read, without parsing it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import tensorflow as tf
import tensorflow_transform as tft

from tabular.training.distribution import ALONE, Shard

# Compressed size up to which a worker keeps its examples in memory, parsed; there they take 3 to 6
# times that.
CACHE_BYTES = 400 << 20
_PARSED_AT_ONCE = 8192


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
      transform: where the files hold raw examples: makes transformed ones of them.
    """

    files: tuple[str, ...]
    spec: Mapping[str, Any]
    label: str
    shard: Shard = ALONE
    transform: tft.TFTransformOutput | None = None

    @classmethod
    def of(
        cls,
        split: str,
        patterns: Sequence[str],
        spec: Mapping[str, Any],
        label: str,
        shard: Shard = ALONE,
        transform: tft.TFTransformOutput | None = None,
    ) -> Examples:
        """The examples of all files that match; see the attributes.

        Raises:
          NoExamplesError: no file matches.
        """
        files = sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))
        if not files:
            where = ", ".join(patterns)
            raise NoExamplesError(f"split {split} has no examples: no file matches {where}")
        return cls(tuple(files), spec, label, shard, transform)

    @property
    def fits_in_memory(self) -> bool:
        return sum(tf.io.gfile.stat(file).length for file in self._own_files) <= CACHE_BYTES

    @functools.cached_property
    def counts(self) -> tuple[int, int]:
        """(rows, rows whose label is positive) of this share; a pass where it is not in memory."""
        if self.fits_in_memory:
            _, target = self._columns
            return int(tf.shape(target)[0]), int(tf.math.count_nonzero(target > 0))
        spec = {self.label: tf.io.FixedLenFeature([], tf.int64)}

        def add(total: tf.Tensor, serialized: tf.Tensor) -> tf.Tensor:
            labels = tf.io.parse_example(serialized, spec)[self.label]
            positive = tf.math.count_nonzero(labels > 0)
            return total + tf.stack([tf.size(labels, tf.int64), positive])

        records = self._records().batch(_PARSED_AT_ONCE)
        rows, positive = records.reduce(tf.zeros([2], tf.int64), add).numpy()
        return int(rows), int(positive)

    def in_order(self, batch_size: int) -> tf.data.Dataset:
        """One pass in order; the last batch may be smaller."""
        if self.fits_in_memory:
            whole = tf.data.Dataset.from_tensor_slices(self._columns)
            return whole.batch(batch_size).prefetch(tf.data.AUTOTUNE)
        return self._parsed(self._records().batch(batch_size))

    def shuffled(
        self, batch_size: int, buffer: int, seed: int, first_step: int = 0
    ) -> tf.data.Dataset:
        """Pass after pass without end, each shuffled in its own way, in full batches.

        Args:
          batch_size: rows a batch.
          buffer: rows to shuffle among where they are not all in memory; 0 for the order of the
            files.
          seed: of the shuffle.
          first_step: batches to leave out at the start.

        Raises:
          NoExamplesError: the share is empty.
        """
        rows = self.counts[0]
        if not rows:
            raise NoExamplesError(f"no rows for worker {self.shard} in {self.files}")
        passes, skipped = divmod(first_step * batch_size, rows)
        numbers = tf.data.Dataset.range(passes, tf.int64.max)
        if self.fits_in_memory:
            return self._gathered(numbers, rows, batch_size, seed if buffer else None, skipped)

        def one_pass(number: tf.Tensor) -> tf.data.Dataset:
            if not buffer:
                return self._records()
            shuffled = self._records().shuffle(
                buffer, seed=seed + number, reshuffle_each_iteration=False
            )
            return cast(tf.data.Dataset, shuffled)

        stream = numbers.flat_map(one_pass).skip(skipped)
        return self._parsed(stream.batch(batch_size, drop_remainder=True))

    @functools.cached_property
    def _columns(self) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """All of this share: (feature -> [rows, ...], label [rows, 1])."""
        parsed = self._parsed(self._records().batch(_PARSED_AT_ONCE))
        batches = [*parsed]
        if not batches:  # a worker's share may be empty, and still has its features
            return tf.nest.map_structure(
                lambda spec: tf.zeros([0, *spec.shape[1:]], spec.dtype), parsed.element_spec
            )
        return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *batches)

    def _gathered(
        self,
        numbers: tf.data.Dataset,
        rows: int,
        batch_size: int,
        seed: int | None,
        skipped: int,
    ) -> tf.data.Dataset:
        """Batches picked out of memory, in an order of its own for each number of a pass."""
        columns = self._columns

        def one_pass(number: tf.Tensor) -> tf.data.Dataset:
            order = tf.range(rows)
            if seed is not None:
                order = tf.random.experimental.stateless_shuffle(order, [seed, number])
            return tf.data.Dataset.from_tensor_slices(order)

        def pick(places: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            return tf.nest.map_structure(lambda column: tf.gather(column, places), columns)

        places = numbers.flat_map(one_pass).skip(skipped).batch(batch_size, drop_remainder=True)
        return places.map(pick, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    @property
    def _own_files(self) -> tuple[str, ...]:
        """All of them where records are shared out instead."""
        by_file = len(self.files) >= self.shard.count
        return self.files[self.shard.index :: self.shard.count] if by_file else self.files

    def _records(self) -> tf.data.Dataset:
        """Serialized examples of this share in a fixed order, read in parallel."""
        records = tf.data.Dataset.from_tensor_slices([*self._own_files]).interleave(
            lambda path: tf.data.TFRecordDataset(path, "GZIP", buffer_size=1 << 20),
            cycle_length=min(8, len(self._own_files)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        by_record = len(self.files) < self.shard.count
        return records.shard(self.shard.count, self.shard.index) if by_record else records

    def _parsed(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Batches of (dict of [batch, ...] tensors, [batch, 1] float label)."""

        def parse(serialized: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            parsed = self._features(serialized)
            target = tf.cast(parsed.pop(self.label), tf.float32)
            return parsed, tf.reshape(target, [-1, 1])

        parse = tf.autograph.experimental.do_not_convert(parse)
        return batches.map(parse, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    @functools.cached_property
    def _features(self) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
        """Serialized examples to the features of `spec`."""
        if self.transform is None:
            return lambda serialized: dict(tf.io.parse_example(serialized, self.spec))
        layer, raw = self.transform.transform_features_layer(), self.transform.raw_feature_spec()

        def transformed(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
            found = layer(tf.io.parse_example(serialized, raw))
            return {name: found[name] for name in self.spec}

        return transformed
