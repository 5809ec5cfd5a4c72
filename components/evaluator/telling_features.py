"""Features that alone almost tell the label: mostly, they are known only after the fact."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import tensorflow as tf
from sklearn import metrics
from sklearn.model_selection import KFold
from sklearn.tree import DecisionTreeRegressor
from tensorflow_metadata.proto.v0 import schema_pb2

REPORTED = 0.98
_OF_EACH = 5_000  # positives, and others
_LOOKED_AT = 200_000
_AT_ONCE = 4_096
_FEWEST = 20
_LEAVES = 32


@dataclasses.dataclass(frozen=True)
class Telling:
    """What a feature says of the label.

    Attributes:
      feature: Raw feature.
      skill: AUC on examples that it was not fitted to; for labels other than 0 and 1 R².
      measure: 'AUC' or 'R2'.
      text: All of it in a line.
    """

    feature: str
    skill: float
    measure: str
    text: str


def telling_features(
    folders: Sequence[str], schema: schema_pb2.Schema, label: str, left_out: Collection[str] = ()
) -> list[Telling]:
    """Fits a small model of each feature alone to half of a sample, and asks it about the rest.

    Args:
      folders: Folders with gzipped TFRecord files of tf.Examples, one for each split or span.
      schema: Of the examples.
      label: Name of the label.
      left_out: Further features that are not looked at, such as a weight.

    Returns:
      All features with what they say, the most telling first; none where the sample has fewer
      than 20 examples of either label.
    """
    kinds = {feature.name: feature.type for feature in schema.feature}
    sample = _sample(folders, kinds, label)
    labels = sample.pop(label, np.empty(0))
    is_event = bool(np.isin(labels, (0, 1)).all())
    if len(labels) < 2 * _FEWEST:
        return []
    if is_event and min(labels.sum(), (1 - labels).sum()) < _FEWEST:
        return []
    measure = "AUC" if is_event else "R2"
    found = []
    for name, values in sample.items():
        if name not in left_out:
            skill = _skill(values, labels, is_event)
            text = f"feature '{name}' alone almost tells the label ({measure} {skill:.4f})"
            found.append(Telling(name, skill, measure, text))
    return sorted(found, key=lambda one: -one.skill)


def _skill(values: np.ndarray, labels: np.ndarray, is_event: bool) -> float:
    """Mean over two halves of what a model of the other half reaches."""
    found = []
    for learned, asked in KFold(2, shuffle=True, random_state=0).split(values):
        said = _fitted(values, labels, learned)[asked]
        truth = labels[asked]
        if is_event and len(np.unique(truth)) < 2:
            continue
        score = metrics.roc_auc_score if is_event else metrics.r2_score
        found.append(float(score(truth, said)))
    return float(np.mean(found)) if found else 0.0


def _fitted(values: np.ndarray, labels: np.ndarray, learned: np.ndarray) -> np.ndarray:
    """Predictions for all rows by a model of the learned ones: the mean label of each text, or a
    tree over a number, which need not rise or fall with the label.
    """
    if values.dtype == object:
        _, place = np.unique(values, return_inverse=True)
        count = np.bincount(place[learned], minlength=place.max() + 1)
        total = np.bincount(place[learned], labels[learned], minlength=place.max() + 1)
        return ((total + labels[learned].mean()) / (count + 1))[place]
    tree = DecisionTreeRegressor(max_leaf_nodes=_LEAVES, min_samples_leaf=5, random_state=0)
    column = values[:, np.newaxis]
    return tree.fit(column[learned], labels[learned]).predict(column)


def _sample(folders: Sequence[str], kinds: dict[str, int], label: str) -> dict[str, np.ndarray]:
    """Feature -> first value of each example [rows]; positives and others, drawn at random apart.

    Each row draws a number, and the lowest ones stay: all rows have the same chance, wherever in
    the files they are.
    """
    chance = np.random.default_rng(0)
    kept: dict[str, np.ndarray] = {}
    drawn = np.empty(0)
    for batch in _batches(folders, kinds):
        drawn = np.concatenate([drawn, chance.random(len(batch[label]))])
        both = {n: np.concatenate([kept[n], batch[n]]) if kept else batch[n] for n in batch}
        positive = both[label] > 0
        lowest = [
            places[np.argsort(drawn[places])[:_OF_EACH]]
            for places in (np.flatnonzero(positive), np.flatnonzero(~positive))
        ]
        chosen = np.sort(np.concatenate(lowest))
        kept, drawn = {name: values[chosen] for name, values in both.items()}, drawn[chosen]
    return kept


def _batches(folders: Sequence[str], kinds: dict[str, int]) -> Iterator[dict[str, np.ndarray]]:
    files = sorted(f for folder in folders for f in tf.io.gfile.glob(f"{folder}/*.gz"))
    if not files:
        return
    types = {schema_pb2.INT: tf.int64, schema_pb2.FLOAT: tf.float32, schema_pb2.BYTES: tf.string}
    spec = {name: tf.io.VarLenFeature(types[kind]) for name, kind in kinds.items()}
    records = tf.data.Dataset.from_tensor_slices(files).interleave(
        lambda file: tf.data.TFRecordDataset(file, "GZIP"), cycle_length=8
    )
    for serialized in records.take(_LOOKED_AT).batch(_AT_ONCE):
        parsed = tf.io.parse_example(serialized, spec)
        yield {name: _first(values) for name, values in parsed.items()}


def _first(values: tf.SparseTensor) -> np.ndarray:
    """The first value of each row; where there is none, or none that is a number, a value of its
    own below all others.
    """
    rows = values.indices.numpy()
    first = rows[:, 1] == 0
    place, found = rows[first, 0], values.values.numpy()[first]
    if values.dtype == tf.string:
        result = np.full(values.dense_shape[0], b"", object)
        result[place] = found
        return result
    numbers = np.full(values.dense_shape[0], -np.inf)
    numbers[place] = found
    return np.clip(np.nan_to_num(numbers, nan=-np.inf), -1e37, 1e37)
