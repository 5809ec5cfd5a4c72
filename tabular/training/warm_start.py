"""Weights of an earlier model for a new one: rows of embeddings by token, the rest by name.

Vocabularies change from span to span: the same index means another token. So rows are found by the
token they stood for; a token that is new starts as in a new model, and out-of-vocabulary buckets
stay what they were.

Adagrad's memory of each weight (its accumulated squared gradients) is kept beside the exported
model, where no server looks, and taken over in the same way. Without it every weight would be
moved by the full learning rate again, and what was learned be lost in the first steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

MEMORY = "adagrad.npz"


class EarlierModel:
    """An exported model: its weights, and the vocabularies it was trained with.

    Args:
      path: SavedModel with the model's variables as `model.variables`.
    """

    def __init__(self, path: str):
        self._assets = Path(path) / "assets"
        # Kept: the variables are gone with the object that loaded them.
        self._loaded = tf.saved_model.load(path)
        self.weights = {weight.name: weight.numpy() for weight in self._loaded.model.variables}
        memory = Path(path).parent / MEMORY
        self.memory: dict[str, np.ndarray] = {}  # by the name of the weight
        if memory.is_file():
            with np.load(memory, allow_pickle=False) as file:
                self.memory = {name: file[name] for name in file.files}

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


def save_memory(model: keras.Model, folder: str) -> None:
    """Writes what Adagrad knows of each weight beside an exported model; other optimizers: nothing.

    Moments of Adam are those of the last steps; they come back as soon.

    Args:
      model: trained.
      folder: the one that the model is exported to.
    """
    memory = accumulators(model)
    if memory:
        path = Path(folder).parent / MEMORY
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **{name: variable.numpy() for name, variable in memory.items()})


def accumulators(model: keras.Model) -> dict[str, tf.Variable]:
    """Name of a weight -> the variable that holds Adagrad's memory of it; empty for others."""
    optimizer = model.optimizer
    if not isinstance(optimizer, keras.optimizers.Adagrad):
        return {}
    optimizer.build(model.trainable_variables)  # where it has not made a step yet
    pairs = zip(model.trainable_variables, optimizer._accumulators, strict=True)
    return {weight.name: variable for weight, variable in pairs}
