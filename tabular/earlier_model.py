"""Warm start of the CTR application: which weights of an earlier model still mean the same."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
import tf_keras as keras

from applications.ctr import features
from tabular import preprocessing
from tabular.embedding_tables import EmbeddingTables, table_rows
from tabular.training.warm_start import EarlierModel, accumulators, earlier_rows, take_rows

_log = logging.getLogger(__name__)


class WarmStart:
    """Gives a new model what an exported one has learned, as far as it fits.

    Embeddings are taken by token (of categories) or by index (of buckets, positions and crosses);
    those of a feature whose width changed with its vocabulary start anew, as do layers of another
    shape or of another network.

    Args:
      model: as built, not trained.
      path: of the earlier SavedModel.
      tokens: categorical feature -> its vocabulary now.
      sizes: transformed index feature -> number of indices now.
    """

    def __init__(
        self,
        model: keras.Model,
        path: str,
        tokens: Mapping[str, Sequence[bytes]],
        sizes: Mapping[str, int],
    ):
        self._model, self._path, self._earlier = model, path, EarlierModel(path)
        earlier_tokens = {name: self._earlier.tokens(name) for name in tokens}
        self._sizes = preprocessing.index_sizes({n: len(t) for n, t in earlier_tokens.items()})
        self._rows = {name: np.arange(min(n, self._sizes[name])) for name, n in sizes.items()}
        for name, now in tokens.items():
            self._rows[features.transformed(name)] = earlier_rows(
                now, earlier_tokens[name], features.OOV_BUCKETS
            )
        self._tables = {
            table.name: (layer, width)
            for layer in model.layers
            if isinstance(layer, EmbeddingTables)
            for width, table in layer.tables.items()
        }

    def give_weights(self) -> None:
        """Before the model is compiled: averages of weights begin with them."""
        taken = self._give(
            {w.name: w for w in self._model.trainable_weights}, self._earlier.weights
        )
        _log.info("started from %s: %d of its weights", self._path, taken)

    def give_memory(self) -> None:
        """Once it is compiled: what the optimizer remembers of each weight."""
        self._give(accumulators(self._model), self._earlier.memory)

    def _give(self, new: Mapping[str, tf.Variable], earlier: Mapping[str, np.ndarray]) -> int:
        """Returns the number of variables that got something."""
        taken = 0
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
            taken += 1
        return taken

    def _table(self, name: str, new: np.ndarray, earlier: np.ndarray) -> np.ndarray:
        """A table of embeddings with the rows that mean what they meant in the earlier one."""
        layer, width = self._tables[name]
        places = table_rows(self._sizes, layer.width_of)
        for feature, place in layer.rows.items():
            was = places[feature]
            if str(place.width) != width or was.width != place.width:
                continue
            block = slice(place.start, place.start + len(self._rows[feature]))
            old = earlier[was.start : was.start + was.count]
            new[block] = take_rows(new[block], old, self._rows[feature])
        return new
