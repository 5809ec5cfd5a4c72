"""Scores Arrow batches with a SavedModel in Spark's Python workers, and writes the scores.

A worker loads the model once and keeps it for all of its tasks. Each task attempt writes its own
file and reports it, so a retried or speculative task neither loses nor duplicates rows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from pyspark import TaskContext

import base.arrow  # noqa: F401
from base.errors import ComponentError
from base.model_outputs import DECISION
from spark_io.examples.encoding import ExampleEncoder
from spark_io.examples.rows import DROPPED, QUARANTINED
from spark_io.examples.shards import DROP, EXAMPLES, QUARANTINE, REPORT_SCHEMA, JsonLinesShard
from spark_io.sources.column_names import OUTCOME, REASON, RECORD, RESERVED, SOURCE

SCORES, REJECTED = "scores", "rejected"  # folders of the attempts
CLASS = "class"  # column with the name of the most probable class
_AT_ONCE = 4_096  # rows that the model gets


@dataclasses.dataclass(frozen=True)
class Scoring:
    """The instructions for a worker.

    Attributes:
      staging: Folder on storage that every worker and the driver share.
      model: Folder of the SavedModel, on such storage as well.
      columns: Names of the columns, by their position in a batch.
      inputs: Features that the model takes one value of.
      lists: Features that the model takes a list of.
      carried: Columns that are written beside the scores.
      prediction: Output of the model.
      classes: Names of the labels 0, 1, 2, ... of a multiclass model; empty for others.
      primary: Name of the primary source.
      format: parquet or csv.
    """

    staging: str
    model: str
    columns: Sequence[str]
    inputs: Sequence[str]
    lists: Sequence[str]
    carried: Sequence[str]
    prediction: str
    classes: Sequence[str]
    primary: str
    format: str


def score_writer(
    scoring: Scoring,
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Returns the function for `DataFrame.mapInArrow` that scores batches and reports its files."""

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        task = TaskContext.get()
        assert task is not None
        for path in (scoring.staging, scoring.model):
            if not Path(path).is_dir():
                raise ComponentError(
                    f"Spark's worker on {socket.gethostname()} does not see {path}; mount it under "
                    "the same path on all of Spark's hosts, or use the master local[*]"
                )
        attempt = f"{task.partitionId():05d}-{task.taskAttemptId()}"
        writer = _TaskWriter(scoring, attempt)
        try:
            for batch in batches:
                writer.add(pa.RecordBatch.from_arrays(batch.columns, names=list(scoring.columns)))
            yield writer.finish()
        finally:
            writer.close()

    return write


@functools.lru_cache(maxsize=1)
def _model(folder: str) -> Any:
    """Loads a model, on one thread: Spark runs as many workers as there are cores."""
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # TensorFlow has already started in this process
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    return tf.saved_model.load(folder)


class _TaskWriter:
    """The files of one task attempt."""

    def __init__(self, scoring: Scoring, attempt: str):
        self._scoring = scoring
        self._encoder = ExampleEncoder()
        suffix = "parquet" if scoring.format == "parquet" else "csv"
        self._path = Path(scoring.staging, SCORES, f"{attempt}.{suffix}")
        self._file: pq.ParquetWriter | pa_csv.CSVWriter | None = None
        self._rows = 0
        self._rejects = JsonLinesShard(Path(scoring.staging, REJECTED, f"{attempt}.json.gz"))
        self._quarantined: Counter[tuple[str, str]] = Counter()
        self._dropped: Counter[str] = Counter()

    def add(self, batch: pa.RecordBatch) -> None:
        """Scores the examples of a batch, and counts its other rows."""
        table = pa.Table.from_batches([batch])
        outcome = table.column(OUTCOME)
        rest = table.filter(pc.is_valid(outcome)).select(list(RESERVED))
        records = rest.column(RECORD).cast(pa.binary())  # an ETL's record may not be UTF-8
        for row in rest.set_column(RESERVED.index(RECORD), RECORD, records).to_pylist():
            record = row[RECORD] if row[RECORD] is None else row[RECORD].decode(errors="replace")
            self._count(row[OUTCOME], row[SOURCE], row[REASON], record)
        for part in table.filter(pc.is_null(outcome)).to_batches(max_chunksize=_AT_ONCE):
            self._score(self._complete(part))

    def _count(
        self, outcome: str, source: str | None, reason: str | None, record: str | None
    ) -> None:
        source, reason = source or self._scoring.primary, reason or "unspecified"
        if outcome == DROPPED:
            self._dropped[reason] += 1
            return
        if outcome != QUARANTINED:
            raise ComponentError(
                f"the ETL must set {OUTCOME} to {QUARANTINED} or {DROPPED}. Received: {outcome!r}"
            )
        self._rejects.write({"source": source, "reason": reason, "record": record})
        self._quarantined[source, reason] += 1

    def _complete(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Returns the rows that the model can take, and rejects the others.

        The model needs a value, and a finite one, of each feature. One row without would fail all.
        """
        reasons = np.full(batch.num_rows, None, object)
        for name in self._scoring.inputs:
            column = batch.column(name)
            wrong = {f"no_value_of_{name}": pc.is_null(column)}
            if pa.types.is_floating(column.type):
                finite = pc.fill_null(pc.is_finite(column.cast(pa.float32(), safe=False)), True)
                wrong[f"not_finite_{name}"] = pc.invert(finite)
            for reason, rows in wrong.items():
                if pc.any(rows).as_py():
                    reasons[rows.to_numpy(zero_copy_only=False) & (reasons == None)] = reason  # noqa: E711
        bad = np.flatnonzero(reasons != None)  # noqa: E711 - elementwise
        if not len(bad):
            return batch
        carried = pa.Table.from_batches([batch.take(pa.array(bad))])
        carried = carried.select(list(self._scoring.carried)).to_pylist()
        for reason, row in zip(reasons[bad], carried, strict=True):
            self._count(QUARANTINED, None, reason, json.dumps(row, default=str))
        return batch.take(pa.array(np.flatnonzero(reasons == None)))  # noqa: E711

    def _score(self, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        names = [*self._scoring.inputs, *self._scoring.lists]
        features = pa.RecordBatch.from_arrays([batch.column(name) for name in names], names=names)
        predicted = [self._predicted(encoded) for _, encoded in self._encoder.encode(features)]
        scores = np.concatenate([scores for scores, _ in predicted])
        decisions = np.concatenate([decisions for _, decisions in predicted])
        carried = {name: batch.column(name) for name in self._scoring.carried}
        decided = {DECISION: pa.array(decisions)} if len(decisions) else {}
        self._write(pa.table({**carried, **self._columns(scores), **decided}))

    def _predicted(self, encoded: pa.BinaryArray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the answers to serialized Examples.

        The scores are [rows, outputs], and the decisions [rows], or empty of a model without any.
        """
        import tensorflow as tf

        model = _model(self._scoring.model)
        examples = tf.constant(encoded.to_numpy(zero_copy_only=False))
        signature = model.signatures["serving_default"]
        try:
            found = signature(examples=examples)
        except tf.errors.InvalidArgumentError as error:
            raise ComponentError(
                f"the model rejects the features: {error.message.splitlines()[0][:300]}. Score "
                "with a model of this version of the application"
            ) from None
        if self._scoring.prediction not in found:
            raise ComponentError(
                f"the model has no output '{self._scoring.prediction}', which "
                f"evaluator.prediction names. It has: {', '.join(found)}"
            )
        scores: np.ndarray = found[self._scoring.prediction].numpy()
        decisions = np.ravel(found[DECISION].numpy()) if DECISION in found else np.empty(0)
        return scores.reshape(len(scores), -1), decisions

    def _columns(self, scores: np.ndarray) -> dict[str, pa.Array]:
        name, classes = self._scoring.prediction, self._scoring.classes
        if not classes:
            return {name: pa.array(scores[:, 0])}
        best = pa.array([classes[place] for place in scores.argmax(axis=1)])
        if self._scoring.format == "csv":
            each = {f"{name}_{place}": pa.array(scores[:, place]) for place in range(len(classes))}
            return {CLASS: best, **each}
        sizes = np.arange(0, scores.size + 1, scores.shape[1], dtype=np.int32)
        return {CLASS: best, name: pa.ListArray.from_arrays(sizes, scores.ravel())}

    def _write(self, table: pa.Table) -> None:
        if self._file is None:
            kind = pq.ParquetWriter if self._scoring.format == "parquet" else pa_csv.CSVWriter
            self._file = kind(str(self._path), table.schema)
        self._file.write_table(table)
        self._rows += table.num_rows

    def finish(self) -> pa.RecordBatch:
        """Closes the files and returns the report."""
        self.close()
        report: list[tuple[str, str | None, str, str | None, int]] = []
        if self._rows:
            report.append((EXAMPLES, None, SCORES, self._path.name, self._rows))
        report += [
            (QUARANTINE, source, reason, self._rejects.path.name, count)
            for (source, reason), count in self._quarantined.items()
        ]
        report += [(DROP, None, reason, None, count) for reason, count in self._dropped.items()]
        names = [field.split()[0] for field in REPORT_SCHEMA.split(", ")]
        columns: list[Any] = [*(list(one) for one in zip(*report, strict=True))] or [[]] * 5
        columns += [[0] * len(report)] * 2  # bytes and checksums, which only Examples have
        types = [pa.string()] * 4 + [pa.int64()] * 3
        return pa.RecordBatch.from_arrays(
            [pa.array(one, kind) for one, kind in zip(columns, types, strict=True)], names=names
        )

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._rejects.close()


def check_model(model: str, inputs: Sequence[str], lists: Sequence[str]) -> frozenset[str]:
    """Compares the model's inputs with the features, before any row is read.

    Returns:
      Names of its outputs.

    Raises:
      ComponentError: The model cannot be loaded, or takes other features.
    """
    try:
        loaded = _model(model)
    except (OSError, ValueError) as error:
        raise ComponentError(
            f"--model: {model} holds no SavedModel that can be loaded: "
            f"{str(error).splitlines()[0][:200]}"
        ) from None
    if "serving_default" not in loaded.signatures:
        raise ComponentError(f"--model: {model} has no signature serving_default")
    outputs = frozenset(loaded.signatures["serving_default"].structured_outputs)
    raw = loaded.signatures.get("raw_features")
    if raw is None:  # an application with its own run_fn
        return outputs
    taken = set(raw.structured_input_signature[1])
    given = {*inputs, *lists}
    if taken != given:
        missing, extra = sorted(taken - given), sorted(given - taken)
        raise ComponentError(
            "the model was trained with other features than the application has now. Only the "
            f"model has: {', '.join(missing) or 'none'}; only the application has: "
            f"{', '.join(extra) or 'none'}. Train again, or check out the code of that model"
        )
    return outputs
