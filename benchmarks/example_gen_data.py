"""The rows of the benchmark: 24 columns as a click log has them, as Parquet and as CSV."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

ROWS_A_FILE = 250_000
INTEGERS = ("clicked", "position", "hour", "weekday", "impressions_1h", "impressions_7d", "age")
FLOATS = ("price", "price_to_category", "user_rate", "item_rate", "hour_sin", "hour_cos", "days")
# name -> number of different values
TEXTS = {"device": 4, "country": 30, "category": 200, "item": 5_000, "user": 100_000}
SPARK_TYPES = {
    "impression": "string",
    **dict.fromkeys(INTEGERS, "bigint"),
    **dict.fromkeys(FLOATS, "float"),
    **dict.fromkeys(TEXTS, "string"),
    "time_ms": "bigint",
    "returning": "bigint",
    "brand": "string",
    "score": "double",
}


def write_data(folder: Path, rows: int) -> None:
    """Writes `parquet/*.parquet` and `csv/*.csv`, the same rows, unless they are there."""
    done = folder / "done"
    if done.exists():
        return
    for kind in ("parquet", "csv"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, rows, ROWS_A_FILE)):
        table = make_rows(start, min(ROWS_A_FILE, rows - start))
        pa.parquet.write_table(
            table, folder / "parquet" / f"{number:04d}.parquet", row_group_size=50_000
        )
        pa.csv.write_csv(table, folder / "csv" / f"{number:04d}.csv")
    done.touch()


def make_rows(start: int, count: int) -> pa.Table:
    """24 columns: 9 integers, 8 floats, 7 texts; no nulls, which CSV could not tell from ''."""
    chance = np.random.default_rng(start)
    columns: dict[str, pa.Array] = {
        "impression": pa.array([f"imp-{n:010d}" for n in range(start, start + count)])
    }
    for power, name in enumerate(INTEGERS):
        columns[name] = pa.array(chance.integers(0, 4**power + 2, count))
    for name in FLOATS:
        columns[name] = pa.array(chance.normal(1, 0.5, count).astype(np.float32))
    for name, values in TEXTS.items():
        known = pa.array([f"{name}-{n}" for n in range(values)])
        columns[name] = known.take(pa.array((values * chance.random(count) ** 2).astype(np.int64)))
    columns["time_ms"] = pa.array(1_709_251_200_000 + np.arange(start, start + count) * 37)
    columns["returning"] = pa.array(chance.integers(0, 2, count))
    columns["brand"] = pa.array([f"b{n}" for n in range(97)]).take(
        pa.array(chance.integers(0, 97, count))
    )
    columns["score"] = pa.array(chance.random(count))
    return pa.table(columns)
