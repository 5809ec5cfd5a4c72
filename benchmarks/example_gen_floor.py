"""The floor: what examples cost on these cores without Spark, splits, accounts or files to read.

`encoders` has both ways to the bytes of an Example: the component's own, and tfx_bsl's, which is
the oracle of its tests. The rest is the same: frames, checksums and gzip of the component, the
fastest that are to be had as wheels (google-crc32c, Intel's isal).
"""

from __future__ import annotations

import functools
import multiprocessing
import time
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pyarrow as pa

Encoder = Callable[[pa.RecordBatch], Iterator[pa.BinaryArray]]

BATCH_ROWS = 20_000


def ours() -> Encoder:
    from spark_io.examples.encoding import ExampleEncoder

    encoder = ExampleEncoder()
    return lambda batch: (encoded for _, encoded in encoder.encode(batch))


def tfx_bsls() -> Encoder:
    from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

    encoder = RecordBatchToExamplesEncoder()
    return lambda batch: iter([pa.array(encoder.encode(_as_lists(batch)), pa.binary())])


def _as_lists(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A list of one value a row, of a type that a feature has: what tfx_bsl takes."""
    from spark_io.examples.encoding import to_feature_values

    offsets = pa.array(range(batch.num_rows + 1), pa.int32())
    lists = [pa.ListArray.from_arrays(offsets, to_feature_values(c)) for c in batch.columns]
    return pa.RecordBatch.from_arrays(lists, names=batch.schema.names)


ENCODERS: dict[str, Callable[[], Encoder]] = {"ours": ours, "tfx_bsl": tfx_bsls}


def write_examples(data: Path, out: Path, workers: int, encoder: str) -> float:
    """Encodes, checksums, compresses and writes from memory, in `workers` processes.

    Each process holds its part as Arrow batches before the clock starts.

    Returns:
      The seconds of it.
    """
    files = sorted(str(path) for path in (data / "parquet").iterdir())
    context = multiprocessing.get_context("spawn")
    ready, done = context.Barrier(workers + 1), context.Barrier(workers + 1)
    (out / "Split-all").mkdir(parents=True)
    processes = [
        context.Process(
            target=_worker,
            args=(files[n::workers], out / "Split-all" / f"{n}.gz", encoder, ready, done),
            daemon=True,
        )
        for n in range(workers)
    ]
    for process in processes:
        process.start()
    ready.wait(timeout=600)
    started = time.monotonic()
    done.wait(timeout=3600)
    seconds = time.monotonic() - started
    for process in processes:
        process.join()
    return seconds


def _worker(files: list[str], path: Path, encoder: str, ready: Barrier, done: Barrier) -> None:
    import pyarrow.parquet

    batches = [
        batch
        for file in files
        for batch in pyarrow.parquet.read_table(file).to_batches(max_chunksize=BATCH_ROWS)
    ]
    write = functools.partial(write_shard, ENCODERS[encoder](), batches, path)
    ready.wait()
    write()
    done.wait()


def write_shard(encode: Encoder, batches: list[pa.RecordBatch], path: Path) -> None:
    from spark_io.examples.tfrecord import TFRecordShard

    shard = TFRecordShard(path)
    for batch in batches:
        for encoded in encode(batch):
            shard.write_all(encoded)
    shard.close()
