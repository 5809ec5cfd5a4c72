"""Reads raw examples as columns, in batches, and samples them if there are too many."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow_metadata.proto.v0 import schema_pb2

from tabular.baseline.columns import TreeColumns
from tabular.errors import TrainingError
from tabular.feature_set import FeatureSet
from tabular.preprocessing import age_of, padded

_AT_ONCE = 8192
_TYPES = {schema_pb2.INT: tf.int64, schema_pb2.FLOAT: tf.float32, schema_pb2.BYTES: tf.string}
_LARGEST = np.uint64(2**64 - 1)
# Stands for infinity, of which scikit-learn would take a mean: infinity - infinity is NaN.
_INFINITE = 1e300


@dataclasses.dataclass(frozen=True)
class Batch:
    """Consecutive rows.

    Attributes:
      numbers: Number or recency -> its values, float64 [rows], finite; NaN where it is missing.
      categories: Category -> its values, [rows], and whether each is there, bool [rows].
      labels: Labels, float64 [rows].
      weights: Weights by name of the column, float64 [rows].
    """

    numbers: Mapping[str, NDArray[np.float64]]
    categories: Mapping[str, tuple[NDArray[Any], NDArray[np.bool_]]]
    labels: NDArray[np.float64]
    weights: Mapping[str, NDArray[np.float64]]


@dataclasses.dataclass(frozen=True)
class RawExamples:
    """Raw examples of one application, in files of any split.

    Attributes:
      features: Declared features.
      schema: Schema of the examples.
      weights: Raw features with weights to read.
    """

    features: FeatureSet
    schema: schema_pb2.Schema
    weights: tuple[str, ...] = ()

    @property
    def columns(self) -> TreeColumns:
        texts = [one.name for one in self.schema.feature if one.type == schema_pb2.BYTES]
        return TreeColumns.of(self.features, texts)

    def batches(self, files: Sequence[str], split: str) -> Iterator[Batch]:
        """Yields the rows of gzipped TFRecord files, in order.

        Args:
          files: Paths of the files.
          split: Name of the split, for errors.

        Raises:
          TrainingError: A row has no label or no weight.
        """
        spec = self._spec()
        for serialized in tf.data.TFRecordDataset([*files], "GZIP").batch(_AT_ONCE):
            yield self._batch(tf.io.parse_example(serialized, spec), split)

    def _spec(self) -> dict[str, tf.io.VarLenFeature]:
        columns = self.columns
        names = {*columns.numbers, *columns.categories, *self.weights, self.features.label}
        for one in columns.recencies:
            sequence = self.features.sequence_of(one.column)
            names |= {one.column, str(sequence.ages), sequence.columns[one.column]}
        kinds = {one.name: one.type for one in self.schema.feature}
        return {name: tf.io.VarLenFeature(_TYPES[kinds[name]]) for name in sorted(names)}

    def _batch(self, parsed: Mapping[str, tf.SparseTensor], split: str) -> Batch:
        columns, features = self.columns, self.features
        numbers = {name: _number(parsed[name]) for name in columns.numbers}
        for one in columns.recencies:
            sequence = features.sequence_of(one.column)
            names = (one.column, str(sequence.ages))
            lists = {name: padded(parsed[name], sequence.length) for name in names}
            current = sequence.columns[one.column]
            ages = age_of(one, features, lists, {current: _dense(parsed[current])})
            numbers[one.name] = ages.numpy().astype(np.float64)
        needed = {name: _number(parsed[name]) for name in (features.label, *self.weights)}
        for name, values in needed.items():
            if np.isnan(values).any():
                missing = int(np.isnan(values).sum())
                raise TrainingError(
                    f"every example must have a number in {name}. Received: {missing:,} of "
                    f"{len(values):,} without one, in split {split}. Check how the ETL makes it"
                )
        return Batch(
            numbers,
            {name: _first(parsed[name]) for name in columns.categories},
            needed[features.label],
            {name: needed[name] for name in self.weights},
        )


class Sample:
    """Rows of a matrix, of which at most `most` are kept, by a hash of their place.

    Each row has the same chance, and the same rows are kept in every run. As soon as there are too
    many, those in the upper half of the remaining hashes are dropped, so between half of `most` and
    `most` rows are left of a larger number.

    Attributes:
      seen: Number of rows so far.
    """

    def __init__(self, most: int):
        self._most, self._limit = most, _LARGEST
        self._parts: list[tuple[NDArray[np.uint64], NDArray[np.float64]]] = []
        self.seen = 0

    def add(self, rows: NDArray[np.float64]) -> None:
        """Adds rows, [rows, columns]."""
        hashes = _hashes(self.seen, len(rows))
        self.seen += len(rows)
        self._parts.append(self._within(hashes, rows))
        while sum(len(kept) for kept, _ in self._parts) > self._most:
            self._limit >>= np.uint64(1)
            self._parts = [self._within(*part) for part in self._parts]

    def rows(self) -> NDArray[np.float64]:
        """Returns the kept rows, in order; [0, 0] if nothing was added."""
        found = [rows for _, rows in self._parts]
        self._parts = []
        return np.concatenate(found) if found else np.empty((0, 0))

    def _within(
        self, hashes: NDArray[np.uint64], rows: NDArray[np.float64]
    ) -> tuple[NDArray[np.uint64], NDArray[np.float64]]:
        kept = hashes <= self._limit
        return (hashes, rows) if kept.all() else (hashes[kept], rows[kept])


def _hashes(first: int, count: int) -> NDArray[np.uint64]:
    """Returns splitmix64 of consecutive whole numbers (Steele et al. 2014)."""
    mixed = np.arange(first, first + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def _first(values: tf.SparseTensor) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Returns the first value of each row, and whether there is one."""
    places, rows = values.indices.numpy(), int(values.dense_shape[0])
    is_first = places[:, 1] == 0
    found = values.values.numpy()[is_first]
    first = np.full(rows, b"" if values.dtype == tf.string else 0, found.dtype)
    there = np.zeros(rows, bool)
    first[places[is_first, 0]] = found
    there[places[is_first, 0]] = True
    return first, there


def _number(values: tf.SparseTensor) -> NDArray[np.float64]:
    if values.dtype == tf.string:
        raise TrainingError("a number is a text in the schema; correct the features or the schema")
    found, there = _first(values)
    finite = np.clip(found.astype(np.float64), -_INFINITE, _INFINITE)
    return np.where(there, finite, np.nan)


def _dense(values: tf.SparseTensor) -> tf.Tensor:
    return tf.constant(_first(values)[0])
