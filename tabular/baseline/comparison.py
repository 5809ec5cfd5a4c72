"""Trains trees on the files of a training split and judges them on those of another split."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from tensorflow_metadata.proto.v0 import schema_pb2
from threadpoolctl import threadpool_limits

from tabular.baseline.columns import TreeColumns
from tabular.baseline.encoding import Encoding, GrowingCodes
from tabular.baseline.judging import Judged, judge
from tabular.baseline.result import Comparison
from tabular.baseline.rows import Batch, RawExamples, Sample
from tabular.baseline.trees import BoostedTrees, Rows, fit_trees
from tabular.errors import TrainingError
from tabular.feature_set import FeatureSet
from tabular.labels import LabelSummary, check_weights
from tabular.metrics.metric_names import MetricName
from tabular.tasks import task_of

_log = logging.getLogger(__name__)
MOST_ROWS, MOST_VALUES = 1_000_000, 30_000_000  # of the training split
_MOST_EVALUATION_ROWS = 200_000


def compare(
    files: Mapping[str, Sequence[str]],
    judged: str,
    features: FeatureSet,
    schema: schema_pb2.Schema,
    metrics: Sequence[MetricName],
    *,
    judged_weight: str | None = None,
    most_rows: int = MOST_ROWS,
) -> Comparison:
    """Trains on split train, stops by split eval, and judges split `judged`.

    It takes one thread. With several, the last digits of sums depend on the order in which threads
    end, and so may the trees.

    Args:
      files: Split -> its gzipped TFRecord files with raw examples.
      judged: Name of the judged split.
      features: Declared features.
      schema: Schema of the examples.
      metrics: Metrics over examples, of the task of `features`.
      judged_weight: Raw feature with the weight of an example in the metrics.
      most_rows: Largest number of training rows in memory.

    Raises:
      TrainingError: A split has no rows, or labels or weights cannot be learned.
    """
    weights = dict.fromkeys(name for name in (features.weight, judged_weight) if name)
    examples = RawExamples(features, schema, tuple(weights))
    columns = examples.columns
    most = min(most_rows, MOST_VALUES // len(columns.names))
    codes = GrowingCodes(columns)
    sample, labels = _sample(examples, files["train"], "train", codes, most)
    task_of(features).check(features, labels)
    learned = _rows(sample.rows())
    encoding = codes.encoding(learned.matrix)
    stopping, _ = _sample(examples, files["eval"], "eval", encoding, _MOST_EVALUATION_ROWS)
    evaluation = _rows(stopping.rows())
    _check_sample(features, "train", learned)
    _check_sample(features, "eval", evaluation)
    with threadpool_limits(1, user_api="openmp"):
        trees = fit_trees(
            learned, evaluation, columns.is_category, features.task, features.class_count
        )
        predicted = _predicted(examples, files[judged], judged, encoding, trees, judged_weight)
        values, intervals, count = judge(predicted, features.task, metrics, features.classes)
    _log.info("trees: %d iterations, %s", trees.iterations, values)
    return Comparison(
        metrics=values,
        intervals=intervals,
        split=judged,
        judged_rows=count,
        rows=sample.seen,
        learned_rows=len(learned.labels),
        iterations=trees.iterations,
        columns=columns.names,
        notes=_notes(
            columns, encoding, {"train": (sample, learned), "eval": (stopping, evaluation)}
        ),
    )


def _check_sample(features: FeatureSet, split: str, rows: Rows) -> None:
    """Raises TrainingError if a sample of a split cannot be learned or judged, unlike all of it."""
    labels = LabelSummary.of(rows.labels, rows.weights, features.class_count)
    check_weights(features.weight, labels, split)
    if split == "train":
        task_of(features).check(features, labels)


def _sample(
    examples: RawExamples,
    files: Sequence[str],
    split: str,
    codes: GrowingCodes | Encoding,
    most: int,
) -> tuple[Sample, LabelSummary]:
    """Reads a split, and raises the errors of the network's training for labels and weights.

    Returns:
      At most `most` rows with label, weight and columns, [rows, 2 + columns]; the labels and
      weights of all rows.
    """
    sample, features = Sample(most), examples.features
    labels = LabelSummary.of(np.empty(0), classes=features.class_count)
    for batch in examples.batches(files, split):
        weights = _weights(batch, features.weight)
        labels = labels.merged(LabelSummary.of(batch.labels, weights, features.class_count))
        sample.add(np.column_stack([batch.labels, weights, codes.matrix(batch)]))
    if not sample.seen:
        raise TrainingError(f"split {split} has no examples, which the trees need. Check the split")
    check_weights(features.weight, labels, split)
    task_of(features).check_values(features, labels, split)
    return sample, labels


def _weights(batch: Batch, name: str | None) -> NDArray[np.float64]:
    return np.ones(len(batch.labels)) if name is None else batch.weights[name]


def _rows(matrix: NDArray[np.float64]) -> Rows:
    return Rows(matrix[:, 2:], matrix[:, 0], matrix[:, 1])


def _predicted(
    examples: RawExamples,
    files: Sequence[str],
    split: str,
    encoding: Encoding,
    trees: BoostedTrees,
    weight: str | None,
) -> Iterator[Judged]:
    for batch in examples.batches(files, split):
        yield batch.labels, trees.predict(encoding.matrix(batch)), _weights(batch, weight)


def _notes(
    columns: TreeColumns, encoding: Encoding, samples: Mapping[str, tuple[Sample, Rows]]
) -> tuple[str, ...]:
    found = []
    if columns.not_read:
        found.append(f"sequences are not read: {', '.join(columns.not_read)}")
    for split, (sample, rows) in samples.items():
        if len(rows.labels) < sample.seen:
            found.append(
                f"{len(rows.labels):,} of {sample.seen:,} rows of split {split} were used, a "
                "sample by hash"
            )
    shared = [name for name, other in encoding.others.items() if not np.isnan(other)]
    if shared:
        found.append(f"values beyond the 254 most frequent share one code: {', '.join(shared)}")
    return tuple(found)
