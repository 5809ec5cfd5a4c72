"""Embedding tables for transformed features, shared by all networks.

Features with embeddings of equal width share one table, so a step needs one lookup and one sparse
update per width instead of one per feature.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray


def embedding_width(size: int) -> int:
    """Returns 2 * fourth root of `size` in steps of 4, at most 32: the TensorFlow guides' rule."""
    root: float = size**0.25
    return min(32, 4 * max(1, round(root / 2)))


@dataclasses.dataclass(frozen=True)
class TableRows:
    """Position of a feature's rows in the table of their width."""

    width: int
    start: int
    count: int


def table_rows(sizes: Mapping[str, int], width_of: Callable[[int], int]) -> dict[str, TableRows]:
    """Returns feature -> position of its rows.

    Args:
      sizes: Feature -> number of different indices.
      width_of: Number of indices -> width of the embedding.
    """
    rows: dict[str, TableRows] = {}
    ends: dict[int, int] = {}
    for name, size in sizes.items():
        width = width_of(size)
        rows[name] = TableRows(width, ends.get(width, 0), size)
        ends[width] = rows[name].start + size
    return rows


class EmbeddingTables(keras.layers.Layer):
    """Maps indices, [B] or [B, n] per feature, to embeddings, [B, width] or [B, n, width].

    Args:
      sizes: Feature -> number of different indices.
      width_of: Number of indices -> width of the embedding.
      shared: Sequence -> feature whose rows it uses. An index below 0 means "no value" and gets an
        arbitrary row, which the network must mask.
      l2: Weight of a batch's squared embeddings in the loss. Rows outside the batch do not count,
        as in DIN's mini-batch aware regularization (Zhou et al. 2018, section 5.1).
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        width_of: Callable[[int], int],
        shared: Mapping[str, str],
        l2: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.width_of = width_of
        self.rows: dict[str, TableRows] = table_rows(sizes, width_of)
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
            embeddings = tf.gather(table, tf.concat(columns, axis=1))
            if self.l2:
                squares = tf.reduce_sum(tf.square(embeddings), [1, 2])
                self.add_loss(self.l2 * tf.reduce_mean(squares))
            for name, part in zip(names, tf.split(embeddings, lengths, axis=1), strict=True):
                is_list = indices[name].shape.rank == 2
                result[name] = part if is_list else tf.squeeze(part, axis=1)
        return result

    def _rows_of(self, name: str) -> TableRows:
        return self.rows[self.shared.get(name, name)]


class PrecomputedEmbedding(keras.layers.Layer):
    """Maps indices [B] to vectors that were learned elsewhere, [B, width], and are not trained.

    Args:
      vectors: One vector per index, float32 [number of indices, width].
    """

    def __init__(self, vectors: NDArray[np.float32], **kwargs):  # type: ignore[no-untyped-def]
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
