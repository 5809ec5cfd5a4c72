"""Weights of an earlier model for a new one: rows of embeddings by token, the rest by name.

Vocabularies change from span to span: the same index means another token. So rows are found by the
token they stood for; a token that is new starts as in a new model, and out-of-vocabulary buckets
stay what they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf


class EarlierModel:
    """An exported model: its weights, and the vocabularies it was trained with.

    Args:
      path: SavedModel with the Keras model as its attribute `model`.
    """

    def __init__(self, path: str):
        self._assets = Path(path) / "assets"
        # Kept: the variables are gone with the object that loaded them.
        self._loaded = tf.saved_model.load(path)
        self.weights = {weight.name: weight.numpy() for weight in self._loaded.model.variables}

    def tokens(self, vocabulary: str) -> list[bytes]:
        """The tokens of a vocabulary of Transform's, by index; empty if there is no such one."""
        path = self._assets / vocabulary
        return path.read_bytes().splitlines() if path.is_file() else []


def earlier_rows(
    tokens: Sequence[bytes], earlier_tokens: Sequence[bytes], buckets: int
) -> np.ndarray:
    """For each row of a feature the row of the earlier model's feature, -1 where there is none.

    Args:
      tokens: the new vocabulary.
      earlier_tokens: that of the earlier model.
      buckets: out-of-vocabulary buckets behind both.

    Returns:
      int64 [len(tokens) + buckets].
    """
    index = {token: number for number, token in enumerate(earlier_tokens)}
    rows = [index.get(token, -1) for token in tokens]
    return np.array([*rows, *(len(earlier_tokens) + b for b in range(buckets))], np.int64)


def take_rows(new: np.ndarray, earlier: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`new` [n, d] with the rows of `earlier` [m, d] that `rows` [n] names; -1: the new one."""
    return np.where(rows[:, np.newaxis] >= 0, earlier[np.maximum(rows, 0)], new)


def take_by_name(weights: Sequence[tf.Variable], earlier: EarlierModel) -> int:
    """Gives them the values of the same name and shape; returns how many there were."""
    taken = 0
    for weight in weights:
        value = earlier.weights.get(weight.name)
        if value is not None and value.shape == tuple(weight.shape):
            weight.assign(value)
            taken += 1
    return taken
