"""Copies the weights of an earlier model to a new one, embeddings by token and the rest by name.

Vocabularies change from span to span, so one index may mean different tokens. Rows of embeddings
are therefore matched by token. A new token starts as in a new model, and out-of-vocabulary buckets
keep their rows.

Adagrad's slots (the accumulated squared gradients of each weight) are saved beside the exported
model, where no server reads them, and copied in the same way. Without them every weight would move
by the full learning rate again and lose in the first steps what it had learned.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray

from tabular.embedding_tables import EmbeddingTables, table_rows
from tabular.errors import TrainingError
from tabular.feature_set import FeatureSet, transformed
from tabular.layers import Probabilities
from tabular.preprocessing import index_sizes

SLOTS_FILE = "adagrad.npz"
_log = logging.getLogger(__name__)


class EarlierModel:
    """The weights, optimizer slots and vocabularies of an exported model.

    Args:
      path: SavedModel with the model's variables as `model.variables`.

    Attributes:
      weights: Name of a weight -> its values.
      slots: Name of a weight -> its accumulator in Adagrad; empty for other optimizers.
    """

    def __init__(self, path: str):
        self._assets = Path(path) / "assets"
        # Keeps the variables alive.
        self._loaded = tf.saved_model.load(path)
        self.weights = {weight.name: weight.numpy() for weight in self._loaded.model.variables}
        self.slots: dict[str, NDArray[np.float32]] = {}
        file = Path(path).parent / SLOTS_FILE
        if file.is_file():
            with np.load(file, allow_pickle=False) as content:
                self.slots = {name: content[name] for name in content.files}

    def tokens(self, vocabulary: str) -> list[bytes]:
        """Returns the tokens of a Transform vocabulary by index; empty if it is unknown."""
        path = self._assets / vocabulary
        return path.read_bytes().splitlines() if path.is_file() else []


class WarmStart:
    """Copies what fits from an exported model to a new one.

    Embeddings are matched by token (vocabularies) or by index (buckets, ordinals, hashes and
    crosses). Embeddings of another width, layers of another shape and layers of another network
    start anew.

    Args:
      model: New model that is not trained yet.
      path: SavedModel of the earlier model.
      features: Declared features.
      tokens: Categorical feature with a vocabulary -> its current tokens, by index.
      sizes: Transformed index feature -> current number of indices.
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
        self._rows: dict[str, NDArray[np.int64]] = {
            name: np.arange(min(n, self._sizes[name])) for name, n in sizes.items()
        }
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
        """Copies the weights. Call it before compiling, because averages start from the weights.

        Raises:
          TrainingError: The earlier model has other classes, or the same in another order.
        """
        self._check_classes()
        weights = {weight.name: weight for weight in self._model.trainable_weights}
        copied = self._copy(weights, self._earlier.weights)
        _log.info("started from %s: %d of its weights", self._path, copied)

    def copy_slots(self) -> None:
        """Copies the optimizer slots. Call it after compiling."""
        self._copy(adagrad_slots(self._model), self._earlier.slots)

    def _check_classes(self) -> None:
        for weight in self._model.non_trainable_weights:
            if f"/{Probabilities.CHECKSUMS}:" not in weight.name:
                continue
            earlier = self._earlier.weights.get(weight.name)
            if earlier is not None and not np.array_equal(earlier, weight.numpy()):
                raise TrainingError(
                    f"the model in {self._path} has other classes than FeatureSet.classes, so its "
                    "weights mean something else. Run once with trainer.warm_start: false"
                )

    def _copy(
        self, new: Mapping[str, tf.Variable], earlier: Mapping[str, NDArray[np.float32]]
    ) -> int:
        """Copies values by name and returns the number of variables that were set."""
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

    def _table(
        self, name: str, new: NDArray[np.float32], earlier: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Returns an embedding table with the earlier rows of the same tokens or indices."""
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
) -> NDArray[np.int64]:
    """Finds the row of each token and bucket in the earlier model.

    Args:
      tokens: New vocabulary.
      earlier_tokens: Earlier vocabulary.
      buckets: Number of out-of-vocabulary buckets after both.

    Returns:
      Earlier row, or -1 if there is none, int64 [len(tokens) + buckets].
    """
    index = {token: number for number, token in enumerate(earlier_tokens)}
    rows = [index.get(token, -1) for token in tokens]
    return np.array([*rows, *(len(earlier_tokens) + b for b in range(buckets))], np.int64)


def take_rows(
    new: NDArray[np.float32], earlier: NDArray[np.float32], rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Replaces rows of `new` [n, d] by rows of `earlier` [m, d]; `rows` [n] is -1 where not."""
    if not len(earlier):
        return new
    return np.where(rows[:, np.newaxis] >= 0, earlier[np.maximum(rows, 0)], new)


def save_slots(model: keras.Model, folder: str) -> None:
    """Writes Adagrad's slots beside an exported model. Does nothing for other optimizers.

    Adam needs no slots, because its moments cover only the last steps and soon build up again.

    Args:
      model: Trained model.
      folder: Folder of the exported model.
    """
    slots = adagrad_slots(model)
    if slots:
        path = Path(folder).parent / SLOTS_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **{name: variable.numpy() for name, variable in slots.items()})


def adagrad_slots(model: keras.Model) -> dict[str, tf.Variable]:
    """Returns Adagrad's accumulator by name of the weight; empty for other optimizers."""
    optimizer = model.optimizer
    if not isinstance(optimizer, keras.optimizers.Adagrad):
        return {}
    optimizer.build(model.trainable_variables)  # in case it has made no step yet
    pairs = zip(model.trainable_variables, optimizer._accumulators, strict=True)
    return {weight.name: variable for weight, variable in pairs}
