"""Embeddings of transformed features, which every network starts from.

Features whose embeddings are equally wide share one table, each with rows of its own: one lookup
and one sparse update a width instead of one a feature.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf
import tf_keras as keras


def embedding_width(size: int) -> int:
    """Rule of thumb of the TensorFlow guides: 2 * fourth root, in steps of 4, at most 32."""
    return min(32, 4 * max(1, round(2 * size**0.25 / 4)))


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows of a feature within a table."""

    width: int
    start: int
    count: int


def table_rows(sizes: Mapping[str, int], width_of: Callable[[int], int]) -> dict[str, Rows]:
    """Where each feature's rows are.

    Args:
      sizes: feature -> number of different indices.
      width_of: number of indices -> width of the embedding.
    """
    rows: dict[str, Rows] = {}
    ends: dict[int, int] = {}
    for name, size in sizes.items():
        width = width_of(size)
        rows[name] = Rows(width, ends.get(width, 0), size)
        ends[width] = rows[name].start + size
    return rows


class EmbeddingTables(keras.layers.Layer):
    """Dict of indices, [B] or [B, n], to a dict of embeddings, [B, width] or [B, n, width].

    Args:
      sizes: feature -> number of different indices.
      width_of: number of indices -> width of the embedding.
      shared: sequence -> the feature whose rows it uses. An index below 0 is that of no value: its
        embedding is some row's, for the network to mask.
      l2: weight of the squared embeddings of a batch in the loss. Rows that are not in the batch do
        not count, as in DIN's mini-batch aware regularization (Zhou et al. 2018, section 5.1).
    """

    def __init__(self, sizes, width_of, shared, l2=0.0, **kwargs):  # type: ignore[no-untyped-def]
        super().__init__(**kwargs)
        self.width_of = width_of
        self.rows: dict[str, Rows] = table_rows(sizes, width_of)
        self.shared: dict[str, str] = dict(shared)
        self.l2 = l2

    def build(self, shapes):  # type: ignore[no-untyped-def]
        self.tables = {}
        for width in sorted({rows.width for rows in self.rows.values()}):
            count = sum(rows.count for rows in self.rows.values() if rows.width == width)
            self.tables[str(width)] = self.add_weight(
                name=f"{self.name}_{width}",
                shape=[count, width],
                initializer=keras.initializers.RandomNormal(stddev=0.01),
            )
        super().build(shapes)

    def call(self, indices):  # type: ignore[no-untyped-def]
        result = {}
        for width, table in self.tables.items():
            names = [n for n in indices if str(self._rows_of(n).width) == width]
            lengths = [indices[n].shape[1] if indices[n].shape.rank == 2 else 1 for n in names]
            columns = [
                tf.reshape(tf.maximum(indices[n], 0) + self._rows_of(n).start, [-1, length])
                for n, length in zip(names, lengths, strict=True)
            ]
            found = tf.gather(table, tf.concat(columns, axis=1))
            if self.l2:
                self.add_loss(self.l2 * tf.reduce_mean(tf.reduce_sum(tf.square(found), [1, 2])))
            for name, part in zip(names, tf.split(found, lengths, axis=1), strict=True):
                is_list = indices[name].shape.rank == 2
                result[name] = part if is_list else tf.squeeze(part, axis=1)
        return result

    def _rows_of(self, name: str) -> Rows:
        return self.rows[self.shared.get(name, name)]


class PrecomputedEmbedding(keras.layers.Layer):
    """Indices [B] to vectors that were learned elsewhere, [B, width]; training leaves them.

    Args:
      vectors: float32 [number of indices, width].
    """

    def __init__(self, vectors: np.ndarray, **kwargs):  # type: ignore[no-untyped-def]
        super().__init__(**kwargs)
        self.initial = vectors

    def build(self, shapes):  # type: ignore[no-untyped-def]
        self.vectors = self.add_weight(
            name=f"{self.name}_vectors",
            shape=self.initial.shape,
            initializer=keras.initializers.Constant(self.initial),
            trainable=False,
        )
        super().build(shapes)

    def call(self, indices):  # type: ignore[no-untyped-def]
        return tf.gather(self.vectors, indices)
