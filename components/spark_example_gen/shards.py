"""Runs inside Spark's Python workers: Arrow batches to TFRecord shards in a staging folder.

Each task writes files of its own, named by the task's attempt, and reports them as rows. Only what
a successful task reported is published, so a retried or speculative task neither loses nor doubles.
"""

from __future__ import annotations

import gzip
import json
import os
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
import pyarrow as pa
import pyarrow.compute as pc
from isal import igzip
from pyspark import TaskContext

from components.spark_example_gen.encoding import ExampleEncoder
from components.spark_example_gen.rows import (
    DROPPED,
    OUTCOME,
    QUARANTINED,
    REASON,
    RECORD,
    RESERVED,
    SOURCE,
)
from components.spark_example_gen.splits import HashSplits

# What a task reports, a row for each file and for each reason.
REPORT_SCHEMA = "kind string, name string, file string, rows long, bytes long, crc32c long"
EXAMPLES, QUARANTINE, DROP = "examples", "quarantine", "dropped"


def shard_writer(
    staging: str, splits: HashSplits, primary: str
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function for `DataFrame.mapInArrow`.

    Args:
      staging: folder on storage that every worker and the driver share.
      splits: how rows are assigned.
      primary: name of the primary source, for rows that do not name theirs.
    """

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        task = TaskContext.get()
        assert task is not None
        attempt = f"{task.partitionId():05d}-{task.taskAttemptId()}"
        writer = _TaskWriter(Path(staging), attempt, splits, primary)
        try:
            for batch in batches:
                writer.add(batch)
            yield writer.finish()
        finally:
            writer.close()

    return write


class _TaskWriter:
    """The shards of one task attempt."""

    def __init__(self, staging: Path, attempt: str, splits: HashSplits, primary: str):
        self._staging = staging
        self._attempt = attempt
        self._splits = splits
        self._primary = primary
        self._encoder = ExampleEncoder()
        self._shards: dict[str, TFRecordShard] = {}
        self._quarantine: JsonLinesShard | None = None
        self._quarantined: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()

    def add(self, batch: pa.RecordBatch) -> None:
        outcome = batch.column(batch.schema.get_field_index(OUTCOME))
        if outcome.null_count == len(outcome):
            self._add_examples(batch)
            return
        table = pa.Table.from_batches([batch])
        for part in table.filter(pc.is_null(outcome)).to_batches():
            self._add_examples(part)
        rest = table.filter(pc.is_valid(outcome)).select(list(RESERVED)).to_pylist()
        for row in rest:
            self._add_refused(row)

    def _add_examples(self, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        names = [name for name in batch.schema.names if name not in RESERVED]
        features = pa.RecordBatch.from_arrays(
            [batch.column(batch.schema.get_field_index(name)) for name in names], names=names
        )
        encoded = self._encoder.encode(features)
        feature = self._splits.feature
        values = [] if feature is None else features.column(names.index(feature)).to_pylist()
        assigned = self._splits.assign(self._splits.keys(values, encoded))
        shards = [self._shard(name) for name in self._splits.names]
        for split, example in zip(assigned, encoded, strict=True):
            shards[split].write(example)

    def _shard(self, split: str) -> TFRecordShard:
        if split not in self._shards:
            self._shards[split] = TFRecordShard(self._staging / split / f"{self._attempt}.gz")
        return self._shards[split]

    def _add_refused(self, row: dict[str, Any]) -> None:
        source, reason = row[SOURCE] or self._primary, row[REASON] or "unspecified"
        if row[OUTCOME] == DROPPED:
            self._dropped[reason] += 1
            return
        if row[OUTCOME] != QUARANTINED:
            raise ValueError(f"{OUTCOME} is '{row[OUTCOME]}'; it is {QUARANTINED} or {DROPPED}")
        if self._quarantine is None:
            path = self._staging / QUARANTINE / f"{self._attempt}.json.gz"
            self._quarantine = JsonLinesShard(path)
        self._quarantine.write({"source": source, "reason": reason, "record": row[RECORD]})
        self._quarantined[f"{source}/{reason}"] += 1

    def finish(self) -> pa.RecordBatch:
        """Closes the files and returns the report."""
        report: list[tuple[str, str, str | None, int, int, int]] = []
        for split, shard in self._shards.items():
            shard.close()
            if shard.rows:
                report.append(
                    (EXAMPLES, split, shard.path.name, shard.rows, shard.bytes, shard.crc32c)
                )
        if self._quarantine is not None:
            self._quarantine.close()
        file = self._quarantine.path.name if self._quarantine else None
        report += [(QUARANTINE, name, file, n, 0, 0) for name, n in self._quarantined.items()]
        report += [(DROP, reason, None, n, 0, 0) for reason, n in self._dropped.items()]
        columns = list(zip(*report, strict=True)) or [()] * 6
        types = [pa.string(), pa.string(), pa.string(), pa.int64(), pa.int64(), pa.int64()]
        fields = [field.split()[0] for field in REPORT_SCHEMA.split(", ")]
        return pa.RecordBatch.from_arrays(
            [pa.array(list(c), t) for c, t in zip(columns, types, strict=True)], names=fields
        )

    def close(self) -> None:
        for shard in self._shards.values():
            shard.close()
        if self._quarantine is not None:
            self._quarantine.close()


class TFRecordShard:
    """A gzipped TFRecord file: rows, and bytes and CRC32C of the file as it lies on disk."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.rows = 0
        self._file = _ChecksummedFile(path)
        self._gzip = igzip.IGzipFile(fileobj=self._file, mode="wb", compresslevel=1, mtime=0)

    def write(self, record: bytes) -> None:
        length = struct.pack("<Q", len(record))
        self._gzip.write(
            length
            + struct.pack("<I", _masked_crc32c(length))
            + record
            + struct.pack("<I", _masked_crc32c(record))
        )
        self.rows += 1

    def close(self) -> None:
        if not self._gzip.closed:
            self._gzip.close()
            self._file.close()

    @property
    def bytes(self) -> int:
        return self._file.bytes

    @property
    def crc32c(self) -> int:
        return self._file.crc32c


class JsonLinesShard:
    """A gzipped file of JSON lines."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = gzip.open(path, "wt", encoding="utf-8", compresslevel=1)  # noqa: SIM115

    def write(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def close(self) -> None:
        self._file.close()


class _ChecksummedFile:
    """A binary file that counts and checksums what is written, and is on disk once closed."""

    def __init__(self, path: Path):
        self._file: BinaryIO = path.open("wb", buffering=1 << 20)
        self.bytes = 0
        self.crc32c = 0

    def write(self, data: bytes) -> int:
        data = bytes(data)
        self.crc32c = google_crc32c.extend(self.crc32c, data)
        self.bytes += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()


def _masked_crc32c(data: bytes) -> int:
    """TFRecord's checksum: a rotated CRC32C plus a constant."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
