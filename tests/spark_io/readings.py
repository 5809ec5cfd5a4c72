"""Readings of sensors: what the tests of SparkExampleGen feed it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from spark_io.jobs.errors import explain
from spark_io.sources.source_types import FileSource

# Writes one file and reads it: (rows, (reason, record) of rejected rows).
Read = Callable[..., tuple[list[tuple[Any, ...]], list[tuple[str, str]]]]

COLUMNS = {"reading": "bigint", "sensor": "string", "value": "double"}
READINGS = FileSource("json", "readings/*.json.gz", COLUMNS)


def write_readings(base: Path, lines: list[Any], name: str = "a") -> Path:
    """Lines are dicts, or raw text."""
    (base / "readings").mkdir(exist_ok=True)
    path = base / "readings" / f"{name}.json.gz"
    with gzip.open(path, "wt") as file:
        for line in lines:
            file.write((line if isinstance(line, str) else json.dumps(line)) + "\n")
    return path


def reading(number: int, value: float = 1.0) -> dict[str, Any]:
    return {"reading": number, "sensor": f"s{number % 5}", "value": value}


def read_split(base: Path, split: str) -> list[tf.train.Example]:
    files = sorted(str(p) for p in (base / "out" / "examples" / f"Split-{split}").iterdir())
    records = tf.data.TFRecordDataset(files, compression_type="GZIP")
    return [tf.train.Example.FromString(r) for r in records.as_numpy_iterator()]


def published(base: Path) -> list[int]:
    """The numbers of all readings that were published, in order."""
    examples = [*read_split(base, "train"), *read_split(base, "eval")]
    return sorted(e.features.feature["reading"].int64_list.value[0] for e in examples)


def failure(run, **changes: Any) -> str:
    with pytest.raises(Exception) as caught:
        run(**changes)
    return explain(caught.value)
