"""Raw examples in files, out of columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow_metadata.proto.v0 import schema_pb2

_KINDS = {bytes: ("bytes_list", schema_pb2.BYTES), float: ("float_list", schema_pb2.FLOAT)}
_WHOLE = ("int64_list", schema_pb2.INT)
Columns = Mapping[str, Sequence[Any]]


def schema_of(columns: Columns) -> schema_pb2.Schema:
    """The schema of columns with a value in at least one row; a list is a list in each row."""
    schema = schema_pb2.Schema()
    for name, values in columns.items():
        schema.feature.add(name=name, type=_kind(values)[1])
    return schema


def write_examples(path: Path, columns: Columns) -> str:
    """Writes rows, of which None is missing; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for row in zip(*columns.values(), strict=True):
            example = tf.train.Example()
            for name, value in zip(columns, row, strict=True):
                field = _kind(columns[name])[0]
                given = value if isinstance(value, list) else [value]
                found = [one for one in given if one is not None]
                if found:
                    getattr(example.features.feature[name], field).value.extend(found)
            writer.write(example.SerializeToString())
    return str(path)


def _kind(values: Sequence[Any]) -> tuple[str, int]:
    flat = (one for value in values for one in (value if isinstance(value, list) else [value]))
    first = next((one for one in flat if one is not None), None)
    return _KINDS.get(type(first), _WHOLE)
