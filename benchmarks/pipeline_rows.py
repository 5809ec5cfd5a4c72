"""The CTR application's final rows as CSV, for a pipeline that has no ETL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT
from benchmarks.prepared_data import prepare
from benchmarks.sample import sample_data

HOURS = 48  # as applications/ctr/configs/ctr.yaml reads
SCHEMA = ROOT / "schemas" / "ctr.pbtxt"
_BATCH = 20_000


def make_rows(folder: Path, impressions: int, csv: bool = True) -> Path:
    """Writes `data`, the simulator's raw log, and if asked `csv/*.csv`, what our ETL makes of it.

    A list of recent clicks is cut to its first value, and an empty one to an empty cell:
    CsvExampleGen has one value a column.

    Returns:
      The folder; nothing is made anew in it.
    """
    if not (folder / "data").exists():
        partial = folder / "partial"
        sample_data("ctr", partial, impressions=impressions, hours=HOURS, seed=7)
        partial.rename(folder / "data")
    if csv and not (folder / "csv").exists():
        prepared = prepare(folder, "ctr", [f"spans.window={HOURS}"], last="SparkExampleGen")
        partial = folder / "partial-csv"
        partial.mkdir(exist_ok=True)
        splits = (sorted(prepared.raw(split).iterdir()) for split in ("train", "eval", "test"))
        for number, shards in enumerate(zip(*splits, strict=True)):
            _write_csv(shards, partial / f"rows-{number:04d}.csv")
        partial.rename(folder / "csv")
    return folder


def spark_types() -> dict[str, str]:
    """Column -> type, of that CSV in the order of its columns."""
    names = {1: "string", 2: "bigint", 3: "float"}  # schema_pb2.FeatureType
    return {feature.name: names[feature.type] for feature in _schema().feature}


def as_they_are(spark: Any, sources: dict[str, Any], context: Any) -> Any:
    """The ETL of ours on that CSV: none."""
    return sources["rows"]


def _schema() -> Any:
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    return text_format.Parse(SCHEMA.read_text("utf-8"), schema_pb2.Schema())


def _write_csv(shards: tuple[Path, ...], out: Path) -> None:
    import numpy as np
    import pandas as pd
    import tensorflow as tf
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    decoder = ExamplesToRecordBatchDecoder(_schema().SerializeToString())
    numpy_types = {"string": "object", "bigint": "int64", "float": "float32"}  # float: None is NaN
    columns = {name: numpy_types[kind] for name, kind in spark_types().items()}
    files = [str(shard) for shard in shards]
    records = tf.data.TFRecordDataset(files, compression_type="GZIP").batch(_BATCH)
    with out.open("w", encoding="utf-8") as file:
        for number, batch in enumerate(records.as_numpy_iterator()):
            found = decoder.DecodeBatch(batch)
            table = {
                name: np.array(_first_values(found.column(name)), dtype)
                for name, dtype in columns.items()
            }
            pd.DataFrame(table).to_csv(file, index=False, header=number == 0)


def _first_values(lists: Any) -> list[Any]:
    firsts = (values[0] if values else None for values in lists.to_pylist())
    return [v.decode() if isinstance(v, bytes) else v for v in firsts]
