"""Writes Arrow batches as TFRecord shards to a staging folder, in Spark's Python workers.

Each task attempt writes its own files and reports them as rows. Only files that a successful task
reported are published, so a retried or speculative task neither loses nor duplicates rows.
"""

from __future__ import annotations

import gzip
import json
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import TaskContext

import base.arrow  # noqa: F401
from base.errors import ComponentError
from spark_io.examples.encoding import ExampleEncoder
from spark_io.examples.rows import DROPPED, QUARANTINED
from spark_io.examples.splits import Splits
from spark_io.examples.tfrecord import TFRecordShard
from spark_io.sources.column_names import OUTCOME, REASON, RECORD, RESERVED, SOURCE

# The report of a task: one row per file and per reason; `name` is the split or the reason.
REPORT_SCHEMA = (
    "kind string, source string, name string, file string, rows long, bytes long, crc32c long"
)
EXAMPLES, QUARANTINE, DROP = "examples", "quarantine", "dropped"
REJECTED = "_refused"  # a folder beside those of the splits


def shard_writer(
    staging: str, splits: Splits, primary: str, columns: Sequence[str]
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Returns the function for `DataFrame.mapInArrow` that writes batches.

    Args:
      staging: Folder on storage that every worker and the driver share.
      splits: Assignment of rows to splits.
      primary: Name of the primary source, for rows that name no source.
      columns: Names of the columns, by their position in a batch.
    """

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        task = TaskContext.get()
        assert task is not None
        attempt = f"{task.partitionId():05d}-{task.taskAttemptId()}"
        if not Path(staging).is_dir():
            raise ComponentError(
                f"Spark's worker on {socket.gethostname()} does not see {staging}; mount the "
                "folder of the pipeline's artifacts under the same path on all of Spark's hosts, "
                "or use the master local[*]"
            )
        writer = _TaskWriter(Path(staging), attempt, splits, primary)
        try:
            for batch in batches:
                writer.add(pa.RecordBatch.from_arrays(batch.columns, names=list(columns)))
            yield writer.finish()
        finally:
            writer.close()

    return write


class _TaskWriter:
    """The shards of one task attempt."""

    def __init__(self, staging: Path, attempt: str, splits: Splits, primary: str):
        self._staging = staging
        self._attempt = attempt
        self._splits = splits
        self._primary = primary
        self._encoder = ExampleEncoder()
        self._shards: dict[str, TFRecordShard] = {}
        self._quarantine: JsonLinesShard | None = None
        self._quarantined: Counter[tuple[str, str]] = Counter()
        self._dropped: Counter[str] = Counter()

    def add(self, batch: pa.RecordBatch) -> None:
        outcome = batch.column(batch.schema.get_field_index(OUTCOME))
        if outcome.null_count == len(outcome):
            self._add_examples(batch)
            return
        table = pa.Table.from_batches([batch])
        for part in table.filter(pc.is_null(outcome)).to_batches():
            self._add_examples(part)
        rest = table.filter(pc.is_valid(outcome)).select(list(RESERVED))
        # As bytes, because an ETL may return a record that is not UTF-8.
        records = rest.column(RECORD).cast(pa.binary())
        for row in rest.set_column(RESERVED.index(RECORD), RECORD, records).to_pylist():
            self._add_rejected(row)

    def _add_examples(self, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        reasons = batch.column(batch.schema.get_field_index(REASON))
        if reasons.null_count < len(reasons):
            raise ComponentError(
                f"the ETL gives a row a {REASON} but no {OUTCOME}; pass rejected rows through "
                "quarantined() or dropped() of rows.py"
            )
        names = [name for name in batch.schema.names if name not in RESERVED]
        features = pa.RecordBatch.from_arrays(
            [batch.column(batch.schema.get_field_index(name)) for name in names], names=names
        )
        for rows, encoded in self._encoder.encode(features):
            assigned = self._splits.assign_batch(rows, encoded)
            for index, split in enumerate(self._splits.names):
                chosen = np.flatnonzero(assigned == index)
                if len(chosen):
                    self._shard(split).write_all(encoded.take(pa.array(chosen)))

    def _shard(self, split: str) -> TFRecordShard:
        if split not in self._shards:
            self._shards[split] = TFRecordShard(self._staging / split / f"{self._attempt}.gz")
        return self._shards[split]

    def _add_rejected(self, row: dict[str, Any]) -> None:
        source, reason = row[SOURCE] or self._primary, row[REASON] or "unspecified"
        if row[OUTCOME] == DROPPED:
            self._dropped[reason] += 1
            return
        if row[OUTCOME] != QUARANTINED:
            raise ComponentError(
                f"the ETL must set {OUTCOME} to {QUARANTINED} or {DROPPED}. "
                f"Received: {row[OUTCOME]!r}"
            )
        if self._quarantine is None:
            path = self._staging / REJECTED / f"{self._attempt}.json.gz"
            self._quarantine = JsonLinesShard(path)
        record = row[RECORD] if row[RECORD] is None else row[RECORD].decode(errors="replace")
        self._quarantine.write({"source": source, "reason": reason, "record": record})
        self._quarantined[source, reason] += 1

    def finish(self) -> pa.RecordBatch:
        """Closes the files and returns the report."""
        report: list[tuple[str, str | None, str, str | None, int, int, int]] = []
        for split, shard in self._shards.items():
            shard.close()
            if shard.rows:
                numbers = shard.rows, shard.bytes, shard.crc32c
                report.append((EXAMPLES, None, split, shard.path.name, *numbers))
        if self._quarantine is not None:
            self._quarantine.close()
        file = self._quarantine.path.name if self._quarantine else None
        report += [
            (QUARANTINE, source, reason, file, n, 0, 0)
            for (source, reason), n in self._quarantined.items()
        ]
        report += [(DROP, None, reason, None, n, 0, 0) for reason, n in self._dropped.items()]
        columns = list(zip(*report, strict=True)) or [()] * 7
        types = [pa.string()] * 4 + [pa.int64()] * 3
        fields = [field.split()[0] for field in REPORT_SCHEMA.split(", ")]
        return pa.RecordBatch.from_arrays(
            [pa.array(list(c), t) for c, t in zip(columns, types, strict=True)], names=fields
        )

    def close(self) -> None:
        for shard in self._shards.values():
            shard.close()
        if self._quarantine is not None:
            self._quarantine.close()


class JsonLinesShard:
    """A gzipped file of JSON lines, which is synced to disk when closed."""

    def __init__(self, path: Path):
        self.path = path
        self._file = path.open("wb", buffering=1 << 20)
        self._gzip = gzip.GzipFile(fileobj=self._file, mode="wb", compresslevel=1)

    def write(self, row: dict[str, Any]) -> None:
        self._gzip.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")

    def close(self) -> None:
        if not self._file.closed:
            self._gzip.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
