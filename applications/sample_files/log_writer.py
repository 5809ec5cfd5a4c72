"""Writes log lines from columns, without a Python object per row, and other sample files."""

from __future__ import annotations

import gzip
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import base.arrow  # noqa: F401
from base.atomic_files import whole_file

_GZIP_LEVEL = 3  # twice as fast as the default, a tenth larger
_BATCH_ROWS = 200_000


def prefixed(prefix: str, number: npt.NDArray[np.integer[Any]]) -> pa.Array:
    """Returns strings such as "u17" from numbers; shape [n]."""
    return pc.binary_join_element_wise(prefix, pa.array(number).cast(pa.string()), "")


def labels(names: tuple[str, ...], index: npt.NDArray[np.integer[Any]]) -> pa.Array:
    """Returns strings by index into `names`; shape [n]."""
    indices = pa.array(index.astype(np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array(names)).dictionary_decode()


def json_lines(table: pa.Table) -> pa.BinaryArray:
    """Returns one JSON object with a newline per row, shape [rows]. Strings are not escaped.

    Args:
      table: Table of string and int64 columns; a null becomes `null`.
    """
    pieces: list[Any] = []
    for place, name in enumerate(table.column_names):
        column = table.column(name).combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # older pyarrow, for an empty table
            column = pa.concat_arrays(column.chunks) if column.chunks else pa.array([], column.type)
        if pa.types.is_string(column.type):
            text = pc.binary_join_element_wise('"', column, '"', "")
        else:
            text = column.cast(pa.string())
        pieces += [f'{"{" if place == 0 else ","}"{name}":', pc.fill_null(text, "null")]
    return pc.binary_join_element_wise(*pieces, "}\n", "").cast(pa.binary())


def break_lines(lines: pa.Array, rng: np.random.Generator) -> pa.Array:
    """Cuts half of the lines in the middle, and fills the others with invalid UTF-8."""
    broken = []
    for line in lines.to_pylist():  # few lines, so a loop is fast enough
        if rng.random() < 0.5:
            broken.append(line[: int(rng.integers(10, len(line) - 2))] + b"\n")
        else:
            noise = rng.integers(128, 256, int(rng.integers(5, 80)), dtype=np.uint8)
            broken.append(b"\xff" + noise.tobytes() + b"\n")
    return pa.array(broken, pa.binary())


def hour_folder(out: Path, name: str, hour_start_ms: int) -> Path:
    """Returns OUT/NAME/YYYY-MM-DD/HH, in UTC."""
    start = datetime.fromtimestamp(hour_start_ms // 1000, tz=timezone.utc)
    return day_folder(out, name, hour_start_ms) / f"{start:%H}"


def day_folder(out: Path, name: str, start_ms: int) -> Path:
    """Returns OUT/NAME/YYYY-MM-DD, in UTC."""
    start = datetime.fromtimestamp(start_ms // 1000, tz=timezone.utc)
    return out / name / f"{start:%Y-%m-%d}"


def write_lines(folder: Path, part: int, lines: pa.BinaryArray) -> None:
    """Writes lines to part-NNNNN.json.gz; the same lines always give the same bytes."""
    with (
        whole_file(folder / f"part-{part:05d}.json.gz") as partial,
        partial.open("wb") as file,
        gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as compressed,
    ):
        if len(lines):
            _, offsets, values = lines.buffers()
            edges = np.frombuffer(offsets, np.int32)[lines.offset : lines.offset + len(lines) + 1]
            compressed.write(memoryview(values)[edges[0] : edges[-1]])


def write_parquet(path: Path, table: pa.Table) -> None:
    """Writes a table in row groups of bounded size."""
    with whole_file(path) as partial:
        pq.write_table(table, partial, row_group_size=_BATCH_ROWS)


def write_csv(path: Path, table: pa.Table) -> None:
    """Writes a small table as CSV with a header and \\n line ends."""
    with whole_file(path) as partial:
        table.to_pandas().to_csv(partial, index=False, lineterminator="\n")
