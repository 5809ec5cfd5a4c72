"""Reads transformed examples for training from sharded TFRecord files, from any position.

The order depends only on the files, the seed and the worker, so an interrupted run can continue
where it stopped. `shuffled(first_step=...)` skips earlier examples without parsing them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from tabular.labels import LabelSummary
from tabular.training.distribution import SINGLE_WORKER, Shard

# Compressed size up to which a worker keeps its parsed examples in memory, where they take 3 to 6
# times as much.
CACHE_BYTES = 400 << 20
_PARSED_AT_ONCE = 8192
_Columns = tuple[Any, ...]  # features, label and, if there is one, weight


class NoExamplesError(ValueError):
    """A split without examples."""


@dataclasses.dataclass(frozen=True)
class Examples:
    """The transformed examples of one split, or one worker's share of them.

    Attributes:
      files: Gzipped TFRecord files, in order.
      spec: Transformed features to parse, including the label and the weight.
      label: Name of the label feature.
      shard: This worker's share, of the files if there are enough, else of the records.
      transform: Transform for files with raw examples; None for transformed examples.
      weight: Name of the weight feature; None without one.
      classes: Number of classes, for the summary of the labels; 0 for a regression.
    """

    files: tuple[str, ...]
    spec: Mapping[str, Any]
    label: str
    shard: Shard = SINGLE_WORKER
    transform: tft.TFTransformOutput | None = None
    weight: str | None = None
    classes: int = 0

    @classmethod
    def matching(
        cls,
        split: str,
        patterns: Sequence[str],
        spec: Mapping[str, Any],
        label: str,
        shard: Shard = SINGLE_WORKER,
        transform: tft.TFTransformOutput | None = None,
    ) -> Examples:
        """Returns the examples of all files that match `patterns`. The attributes say the rest.

        Raises:
          NoExamplesError: No file matches.
        """
        files = sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))
        if not files:
            where = ", ".join(patterns)
            raise NoExamplesError(f"split {split} has no examples: no file matches {where}")
        return cls(tuple(files), spec, label, shard, transform)

    @property
    def fits_in_memory(self) -> bool:
        size: int = sum(tf.io.gfile.stat(file).length for file in self._own_files)
        return size <= CACHE_BYTES

    @functools.cached_property
    def labels(self) -> LabelSummary:
        """The labels of this share. Takes a pass if they do not fit into memory."""
        if self.fits_in_memory:
            columns = [column.numpy()[:, 0] for column in self._columns[1:]]
            weights = columns[1] if len(columns) > 1 else None
            return LabelSummary.of(columns[0], weights, self.classes)
        specs = self.spec if self.transform is None else self.transform.raw_feature_spec()
        names = [self.label, *([self.weight] if self.weight else [])]
        spec = {name: tf.io.FixedLenFeature([], specs[name].dtype) for name in names}
        found = LabelSummary.of(np.empty(0), classes=self.classes)
        for serialized in self._records().batch(_PARSED_AT_ONCE):
            some = tf.io.parse_example(serialized, spec)
            weights = some[self.weight].numpy() if self.weight else None
            part = LabelSummary.of(some[self.label].numpy(), weights, self.classes)
            found = found.merged(part)
        return found

    def in_order(self, batch_size: int) -> tf.data.Dataset:
        """Returns one pass in order. The last batch may be smaller."""
        if self.fits_in_memory:
            whole = tf.data.Dataset.from_tensor_slices(self._columns)
            return whole.batch(batch_size).prefetch(tf.data.AUTOTUNE)
        return self._parsed(self._records().batch(batch_size))

    def shuffled(
        self, batch_size: int, buffer: int, seed: int, first_step: int = 0
    ) -> tf.data.Dataset:
        """Returns full batches of endless passes, each shuffled differently.

        Args:
          batch_size: Rows per batch.
          buffer: Rows in the shuffle buffer, if not all fit into memory; 0 keeps the order of the
            files.
          seed: Seed of the shuffle.
          first_step: Number of batches to skip at the start.

        Raises:
          NoExamplesError: The share is empty.
        """
        rows = self.labels.rows
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
    def _columns(self) -> _Columns:
        """Features [rows, ...], label and weight [rows, 1] of the whole share."""
        parsed = self._parsed(self._records().batch(_PARSED_AT_ONCE))
        batches = [*parsed]
        columns: _Columns
        if batches:
            columns = tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *batches)
        else:  # a worker's share may be empty
            columns = tf.nest.map_structure(
                lambda spec: tf.zeros([0, *spec.shape[1:]], spec.dtype), parsed.element_spec
            )
        return columns

    def _gathered(
        self,
        numbers: tf.data.Dataset,
        rows: int,
        batch_size: int,
        seed: int | None,
        skipped: int,
    ) -> tf.data.Dataset:
        """Returns batches from memory, in a different order for each pass number."""
        columns = self._columns

        def one_pass(number: tf.Tensor) -> tf.data.Dataset:
            order = tf.range(rows)
            if seed is not None:
                order = tf.random.experimental.stateless_shuffle(order, [seed, number])
            return tf.data.Dataset.from_tensor_slices(order)

        def pick(places: tf.Tensor) -> _Columns:
            rows: _Columns = tf.nest.map_structure(lambda one: tf.gather(one, places), columns)
            return rows

        places = numbers.flat_map(one_pass).skip(skipped).batch(batch_size, drop_remainder=True)
        return places.map(pick, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    @property
    def _own_files(self) -> tuple[str, ...]:
        """This worker's files; all files if the records are sharded instead."""
        by_file = len(self.files) >= self.shard.count
        return self.files[self.shard.index :: self.shard.count] if by_file else self.files

    def _records(self) -> tf.data.Dataset:
        """Returns the serialized examples of this share in a fixed order, read in parallel."""
        records = tf.data.Dataset.from_tensor_slices([*self._own_files]).interleave(
            lambda path: tf.data.TFRecordDataset(path, "GZIP", buffer_size=1 << 20),
            cycle_length=min(8, len(self._own_files)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        by_record = len(self.files) < self.shard.count
        return records.shard(self.shard.count, self.shard.index) if by_record else records

    def _parsed(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Returns batches of features [batch, ...], float label and weight [batch, 1]."""

        def parse(serialized: tf.Tensor) -> _Columns:
            parsed = self._features(serialized)
            targets = [parsed.pop(name) for name in (self.label, self.weight) if name]
            return parsed, *(tf.reshape(tf.cast(one, tf.float32), [-1, 1]) for one in targets)

        parse = tf.autograph.experimental.do_not_convert(parse)
        return batches.map(parse, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    @functools.cached_property
    def _features(self) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
        """Function from serialized examples to the features in `spec`."""
        if self.transform is None:
            return lambda serialized: dict(tf.io.parse_example(serialized, self.spec))
        layer, raw = self.transform.transform_features_layer(), self.transform.raw_feature_spec()

        def transformed(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
            found = layer(tf.io.parse_example(serialized, raw))
            return {name: found[name] for name in self.spec}

        return transformed
