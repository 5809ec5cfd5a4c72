"""Warm start of the CTR application: which weights of an earlier model still mean the same."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
import tf_keras as keras

from pipeline.ctr import features, preprocessing
from pipeline.ctr.encoding import EmbeddingTables, table_rows
from pipeline.training.warm_start import EarlierModel, earlier_rows, take_by_name, take_rows

_log = logging.getLogger(__name__)


def start_from(
    model: keras.Model, path: str, tokens: Mapping[str, Sequence[bytes]], sizes: Mapping[str, int]
) -> None:
    """Gives `model` the weights of an exported model as far as they fit.

    Embeddings are taken by token (of categories) or by index (of buckets, positions and crosses);
    those of a feature whose width changed with its vocabulary start anew, as do layers of another
    shape or of another network.

    Args:
      model: as built, not trained.
      path: of the earlier SavedModel.
      tokens: categorical feature -> its vocabulary now.
      sizes: transformed index feature -> number of indices now.
    """
    earlier = EarlierModel(path)
    earlier_tokens = {name: earlier.tokens(name) for name in tokens}
    earlier_sizes = preprocessing.index_sizes({n: len(t) for n, t in earlier_tokens.items()})
    rows = {name: np.arange(min(size, earlier_sizes[name])) for name, size in sizes.items()}
    for name, now in tokens.items():
        rows[features.transformed(name)] = earlier_rows(
            now, earlier_tokens[name], features.OOV_BUCKETS
        )
    tables = [layer for layer in model.layers if isinstance(layer, EmbeddingTables)]
    found = sum(_take_tables(layer, earlier, earlier_sizes, rows) for layer in tables)
    inside = {id(weight) for layer in tables for weight in layer.weights}
    taken = take_by_name([w for w in model.trainable_weights if id(w) not in inside], earlier)
    _log.info(
        "started from %s: embeddings of %d features, %d weights of layers", path, found, taken
    )


def _take_tables(
    layer: EmbeddingTables,
    earlier: EarlierModel,
    earlier_sizes: Mapping[str, int],
    rows: Mapping[str, np.ndarray],
) -> int:
    """Returns the number of features whose embeddings were taken."""
    found = 0
    earlier_places = table_rows(earlier_sizes, layer.width_of)
    for width, table in layer.tables.items():
        values = earlier.weights.get(table.name)
        if values is None:
            continue
        new = table.numpy()
        for name, place in layer.rows.items():
            was = earlier_places[name]
            if str(place.width) != width or was.width != place.width:
                continue
            block = slice(place.start, place.start + len(rows[name]))
            old = values[was.start : was.start + was.count]
            new[block] = take_rows(new[block], old, rows[name])
            found += 1
        table.assign(tf.constant(new))
    return found
