"""Finds features that alone almost reveal the label. Most of them are known only after the fact."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import tensorflow as tf
from scipy.stats import rankdata
from tensorflow_metadata.proto.v0 import schema_pb2

from components.evaluator.single_feature import single_feature_skill

REPORTED = 0.98
_OF_EACH = 5_000  # positives, and as many others
_LOOKED_AT = 200_000
_AT_ONCE = 4_096
_FEWEST = 20
_TYPES = {schema_pb2.INT: tf.int64, schema_pb2.FLOAT: tf.float32, schema_pb2.BYTES: tf.string}

Columns = list[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Telling:
    """How well one feature alone predicts the label.

    Attributes:
      feature: Raw feature.
      skill: AUC on examples that the model was not fitted to, the highest of several classes; R²
        of the ranks if the labels are quantities.
      measure: 'AUC' or 'R2'.
      text: Line with all of this.
    """

    feature: str
    skill: float
    measure: str
    text: str


def telling_features(
    folders: Sequence[str],
    schema: schema_pb2.Schema,
    label: str,
    left_out: Collection[str] = (),
    classes: Sequence[str] = (),
) -> list[Telling]:
    """Fits a small model of each feature to half of a sample and scores it on the other half.

    Args:
      folders: Folders with gzipped TFRecord files of tf.Examples, one per split or span.
      schema: Schema of the examples.
      label: Name of the label.
      left_out: Further features to ignore, such as a weight.
      classes: Names of the classes, if the label is the index of one of several.

    Returns:
      All features with their skill, the highest first; empty if the sample has fewer than 20
      examples of either label. Of several classes, each with 20 examples is told from the others.
    """
    kinds = {feature.name: feature.type for feature in schema.feature if feature.type in _TYPES}
    sample = _sample(folders, kinds, label)
    labels = sample.pop(label)[0] if sample else np.empty(0)
    is_event = bool(np.isin(labels, (0, 1)).all()) and not classes
    if len(labels) < 2 * _FEWEST or (is_event and _rarer(labels) < _FEWEST):
        return []
    targets = {"": labels if is_event else rankdata(labels)}  # a few large ones would dominate R²
    if classes:
        each = {f" of {name}": (labels == place) * 1.0 for place, name in enumerate(classes)}
        targets = {name: one for name, one in each.items() if _rarer(one) >= _FEWEST}
    measure = "AUC" if is_event or classes else "R2"
    found = []
    for name, columns in sample.items():
        if name not in left_out and targets:
            skill, of = max(
                (single_feature_skill(column, target, measure), of)
                for column in columns
                for of, target in targets.items()
            )
            text = f"feature '{name}' alone almost tells the label ({measure}{of} {skill:.4f})"
            found.append(Telling(name, skill, measure, text))
    return sorted(found, key=lambda one: -one.skill)


def _rarer(labels: np.ndarray) -> int:
    return int(min(labels.sum(), (1 - labels).sum()))


def _sample(folders: Sequence[str], kinds: dict[str, int], label: str) -> dict[str, Columns]:
    """Returns feature -> its columns, [rows] each, of positives and others sampled separately.

    Each row draws a random number and the lowest ones stay, so all rows have the same chance,
    wherever they are in the files.
    """
    chance = np.random.default_rng(0)
    kept: dict[str, Columns] = {}
    drawn = np.empty(0)
    for batch in _batches(folders, kinds):
        drawn = np.concatenate([drawn, chance.random(len(batch[label][0]))])
        both = {
            name: [np.concatenate(parts) for parts in zip(kept[name], columns, strict=True)]
            if kept
            else columns
            for name, columns in batch.items()
        }
        positive = both[label][0] > 0
        lowest = [
            places[np.argsort(drawn[places])[:_OF_EACH]]
            for places in (np.flatnonzero(positive), np.flatnonzero(~positive))
        ]
        chosen = np.sort(np.concatenate(lowest))
        kept = {name: [column[chosen] for column in columns] for name, columns in both.items()}
        drawn = drawn[chosen]
    return kept


def _batches(folders: Sequence[str], kinds: dict[str, int]) -> Iterator[dict[str, Columns]]:
    """Yields equally many rows of each file, _LOOKED_AT in total."""
    files = sorted(f for folder in folders for f in tf.io.gfile.glob(f"{folder}/*.gz"))
    spec = {name: tf.io.VarLenFeature(_TYPES[kind]) for name, kind in kinds.items()}
    for file in files:
        records = tf.data.TFRecordDataset(file, "GZIP").take(math.ceil(_LOOKED_AT / len(files)))
        for serialized in records.batch(_AT_ONCE):
            parsed = tf.io.parse_example(serialized, spec)
            yield {name: _columns(values) for name, values in parsed.items()}


def _columns(values: tf.SparseTensor) -> Columns:
    """Returns the first value of each row and the number of its values.

    A missing value or NaN is below all others.
    """
    places, rows = values.indices.numpy(), int(values.dense_shape[0])
    count = np.bincount(places[:, 0], minlength=rows)
    is_first = places[:, 1] == 0
    found = values.values.numpy()[is_first]
    if values.dtype == tf.string:
        first = np.full(rows, b"", object)
        first[places[is_first, 0]] = found
        return [first, count]
    first = np.full(rows, -np.inf)
    first[places[is_first, 0]] = found
    return [np.nan_to_num(first, nan=-np.inf, neginf=-np.inf, posinf=np.inf), count]
