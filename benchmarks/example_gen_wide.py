"""Shapes that are not long: many columns, many files, large values; ours beside plain Spark.

`python -m benchmarks.example_gen_wide JSON` runs one shape in a process of its own. Both candidates
run on one session, after a run of each on few rows: plain Spark reads the rows and counts them, and
reads every value (Spark's sink `noop`); ours finds, reads, encodes and publishes them.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.example_gen_candidates import run_job
from spark_io.sources.source_types import FileSource

Shape = Callable[[Path, int], FileSource]  # writes so many rows into a folder
LARGE_VALUE_BYTES = 120_000
WARM_ROWS = 20


def many_columns(folder: Path, rows: int) -> FileSource:
    """2,000 columns of Parquet."""
    chance = np.random.default_rng(1)
    columns = {f"c{i}": chance.normal(size=rows) for i in range(2_000)}
    pq.write_table(pa.table(columns), folder / "a.parquet")
    return FileSource("parquet", "*.parquet")


def many_csv_columns(folder: Path, rows: int) -> FileSource:
    """2,000 declared columns of CSV."""
    chance = np.random.default_rng(1)
    names = [f"c{i}" for i in range(2_000)]
    values = chance.normal(size=(rows, len(names)))
    lines = [",".join(names), *(",".join(map(repr, row)) for row in values.tolist())]
    (folder / "a.csv").write_text("\n".join(lines) + "\n")
    return FileSource("csv", "*.csv", dict.fromkeys(names, "double"))


def declared_columns(folder: Path, rows: int) -> FileSource:
    """400 columns that are declared wider than they are."""
    names = [f"c{i}" for i in range(400)]
    columns = {name: pa.array(range(rows), pa.int32()) for name in names}
    pq.write_table(pa.table(columns), folder / "a.parquet")
    return FileSource("parquet", "*.parquet", dict.fromkeys(names, "bigint"))


def many_json_files(folder: Path, rows: int) -> FileSource:
    """A JSON file for each row."""
    for number in range(rows):
        (folder / f"{number:06d}.json").write_text(f'{{"n": {number}, "s": "s{number % 7}"}}\n')
    return FileSource("json", "*.json", {"n": "bigint", "s": "string"})


def many_parquet_files(folder: Path, rows: int) -> FileSource:
    """A Parquet file for each row."""
    for number in range(rows):
        table = pa.table({"n": [number], "s": [f"s{number % 7}"]})
        pq.write_table(table, folder / f"{number:06d}.parquet")
    return FileSource("parquet", "*.parquet")


def large_values(folder: Path, rows: int) -> FileSource:
    """A binary of 120 kB in each row."""
    chance = np.random.default_rng(1)
    schema = pa.schema([("n", pa.int64()), ("image", pa.binary())])
    with pq.ParquetWriter(folder / "a.parquet", schema, compression="none") as writer:
        for start in range(0, rows, 500):
            numbers = range(start, min(start + 500, rows))
            images = [chance.bytes(LARGE_VALUE_BYTES) for _ in numbers]
            writer.write_table(pa.table([list(numbers), images], schema=schema))
    return FileSource("parquet", "*.parquet")


# Shape -> rows, in full and with --quick.
SHAPES: dict[str, tuple[Shape, int, int]] = {
    "many_columns": (many_columns, 1_000, 200),
    "many_csv_columns": (many_csv_columns, 1_000, 200),
    "declared_columns": (declared_columns, 10, 10),
    "many_json_files": (many_json_files, 10_000, 500),
    "many_parquet_files": (many_parquet_files, 10_000, 500),
    "large_values": (large_values, 20_000, 500),
}


def measure(shape: str, rows: int, workers: int, scratch: str | None) -> dict[str, float]:
    """Returns the seconds of both candidates: spark_s and ours_s."""
    from spark_io.jobs.session import spark_environment, spark_session

    write = SHAPES[shape][0]
    os.environ.update(spark_environment())
    base = Path(tempfile.mkdtemp(prefix="benchmark-", dir=scratch))
    seconds = {}
    try:
        for size, count in (("warm", WARM_ROWS), ("timed", rows)):
            (base / size).mkdir()
            source = write(base / size, count)
        with spark_session({"master": f"local[{workers}]", "conf": {}, "jars": ()}) as spark:
            for name, candidate in (("spark_s", _plain_spark), ("ours_s", run_job)):
                candidate(spark, source, base / "warm", base / f"{name}-warm")
                started = time.monotonic()
                candidate(spark, source, base / "timed", base / name)
                seconds[name] = time.monotonic() - started
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return seconds


def _plain_spark(spark: Any, source: FileSource, data: Path, out: Path) -> None:
    reader = spark.read.option("header", "true")
    if source.format in ("csv", "json"):
        reader = reader.schema(", ".join(f"{c} {kind}" for c, kind in source.columns.items()))
    frame = reader.format(source.format).load(str(data))
    frame.count()
    frame.write.format("noop").mode("overwrite").save()


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))), flush=True)
