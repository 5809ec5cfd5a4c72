"""Weights of an earlier model for a new one: rows of embeddings by token, the rest by name.

Vocabularies change from span to span, and the same index then means another token. So rows are
found by the token they stood for; a token that is new starts as in a new model, and
out-of-vocabulary buckets stay what they were.

Adagrad's slots (the accumulated squared gradients of each weight) are kept beside the exported
model, where no server looks, and are taken over in the same way. Without them every weight would be
moved by the full learning rate again, and what was learned would be lost in the first steps.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tabular.embedding_tables import EmbeddingTables, table_rows
from tabular.feature_set import FeatureSet, transformed
from tabular.preprocessing import index_sizes

SLOTS_FILE = "adagrad.npz"
_log = logging.getLogger(__name__)


class EarlierModel:
    """An exported model: its weights, and the vocabularies it was trained with.

    Args:
      path: SavedModel that has the model's variables as `model.variables`.

    Attributes:
      weights: Name of a weight -> its values.
      slots: Name of a weight -> Adagrad's accumulator of it; empty for other optimizers.
    """

    def __init__(self, path: str):
        self._assets = Path(path) / "assets"
        # Kept: the variables are gone with the object that loaded them.
        self._loaded = tf.saved_model.load(path)
        self.weights = {weight.name: weight.numpy() for weight in self._loaded.model.variables}
        self.slots: dict[str, np.ndarray] = {}
        file = Path(path).parent / SLOTS_FILE
        if file.is_file():
            with np.load(file, allow_pickle=False) as content:
                self.slots = {name: content[name] for name in content.files}

    def tokens(self, vocabulary: str) -> list[bytes]:
        """Returns the tokens of one of Transform's vocabularies by index; empty if unknown."""
        path = self._assets / vocabulary
        return path.read_bytes().splitlines() if path.is_file() else []


class WarmStart:
    """Gives a new model what an exported one has learned, as far as it fits.

    Embeddings are taken by token (of vocabularies) or by index (of buckets, ordinals, hashes and
    crosses). Those of a feature whose width changed with its vocabulary start anew, as do layers of
    another shape or of another network.

    Args:
      model: A new model, not trained.
      path: SavedModel of the earlier one.
      features: The declarations.
      tokens: Categorical feature with a vocabulary -> its tokens now, by index.
      sizes: Transformed index feature -> number of indices now.
    """

    def __init__(
        self,
        model: keras.Model,
        path: str,
        features: FeatureSet,
        tokens: Mapping[str, Sequence[bytes]],
        sizes: Mapping[str, int],
    ):
        self._model, self._path, self._earlier = model, path, EarlierModel(path)
        earlier_tokens = {name: self._earlier.tokens(name) for name in tokens}
        self._sizes = index_sizes(features, {n: len(t) for n, t in earlier_tokens.items()})
        self._rows = {name: np.arange(min(n, self._sizes[name])) for name, n in sizes.items()}
        for category in features.categorical:
            if category.name in tokens:
                self._rows[transformed(category.name)] = earlier_rows(
                    tokens[category.name], earlier_tokens[category.name], category.oov_buckets
                )
        self._tables = {
            table.name: (layer, width)
            for layer in model.layers
            if isinstance(layer, EmbeddingTables)
            for width, table in layer.tables.items()
        }

    def copy_weights(self) -> None:
        """Copies the weights. Call it before the model is compiled: averages begin with them."""
        weights = {weight.name: weight for weight in self._model.trainable_weights}
        copied = self._copy(weights, self._earlier.weights)
        _log.info("started from %s: %d of its weights", self._path, copied)

    def copy_slots(self) -> None:
        """Copies the optimizer's slots. Call it when the model is compiled."""
        self._copy(adagrad_slots(self._model), self._earlier.slots)

    def _copy(self, new: Mapping[str, tf.Variable], earlier: Mapping[str, np.ndarray]) -> int:
        """Returns the number of variables that were set."""
        copied = 0
        for name, variable in new.items():
            values = earlier.get(name)
            if values is None:
                continue
            if name in self._tables:
                variable.assign(self._table(name, variable.numpy(), values))
            elif values.shape == tuple(variable.shape):
                variable.assign(values)
            else:
                continue
            copied += 1
        return copied

    def _table(self, name: str, new: np.ndarray, earlier: np.ndarray) -> np.ndarray:
        """Returns a table of embeddings with the earlier rows that still mean the same."""
        layer, width = self._tables[name]
        earlier_places = table_rows(self._sizes, layer.width_of)
        for feature, place in layer.rows.items():
            before = earlier_places[feature]
            if str(place.width) != width or before.width != place.width:
                continue
            block = slice(place.start, place.start + len(self._rows[feature]))
            old = earlier[before.start : before.start + before.count]
            new[block] = take_rows(new[block], old, self._rows[feature])
        return new


def earlier_rows(
    tokens: Sequence[bytes], earlier_tokens: Sequence[bytes], buckets: int
) -> np.ndarray:
    """Finds each row of a feature in the earlier model's feature.

    Args:
      tokens: The new vocabulary.
      earlier_tokens: The earlier vocabulary.
      buckets: Number of out-of-vocabulary buckets behind both.

    Returns:
      The earlier row, or -1 where there is none: int64 [len(tokens) + buckets].
    """
    index = {token: number for number, token in enumerate(earlier_tokens)}
    rows = [index.get(token, -1) for token in tokens]
    return np.array([*rows, *(len(earlier_tokens) + b for b in range(buckets))], np.int64)


def take_rows(new: np.ndarray, earlier: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns `new` [n, d] with the rows of `earlier` [m, d] that `rows` [n] names; -1: as new."""
    if not len(earlier):
        return new
    return np.where(rows[:, np.newaxis] >= 0, earlier[np.maximum(rows, 0)], new)


def save_slots(model: keras.Model, folder: str) -> None:
    """Writes Adagrad's slots beside an exported model; does nothing for other optimizers.

    Adam's moments are those of the last steps, and build up again as soon.

    Args:
      model: A trained model.
      folder: Folder that the model is exported to.
    """
    slots = adagrad_slots(model)
    if slots:
        path = Path(folder).parent / SLOTS_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **{name: variable.numpy() for name, variable in slots.items()})


def adagrad_slots(model: keras.Model) -> dict[str, tf.Variable]:
    """Returns name of a weight -> Adagrad's accumulator of it; empty for other optimizers."""
    optimizer = model.optimizer
    if not isinstance(optimizer, keras.optimizers.Adagrad):
        return {}
    optimizer.build(model.trainable_variables)  # where it has not made a step yet
    pairs = zip(model.trainable_variables, optimizer._accumulators, strict=True)
    return {weight.name: variable for weight, variable in pairs}
