"""Encodes Arrow record batches as tf.train.Examples, without a Python loop over rows.

`FEATURE_KINDS` is the table of types. A null becomes a feature without a value; zeros, NaN, empty
strings and empty lists stay as they are. The bytes are protobuf's deterministic form (wire.py), so
the same rows always give the same bytes.

Each column becomes a byte column of map entries, built from the inside out (byte_columns.py):
values, list, feature, entry, with lengths computed for all rows at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

import base.arrow  # noqa: F401
from base.errors import ComponentError
from spark_io.examples import byte_columns as bc
from spark_io.examples import wire
from spark_io.examples.byte_columns import ByteColumn, Ragged

# Spark's simple type name -> kind of feature; `to_feature_values` does the conversion.
FEATURE_KINDS: dict[str, str] = {
    "boolean": "int64",
    "tinyint": "int64",
    "smallint": "int64",
    "int": "int64",
    "bigint": "int64",
    "float": "float",
    "double": "float",
    "decimal": "float",
    "string": "bytes",
    "binary": "bytes",
    "date": "int64",  # days since 1970-01-01
    "timestamp": "int64",  # microseconds since 1970-01-01T00 UTC
    "timestamp_ntz": "int64",
}
_OTHER_BYTES = (pa.types.is_string, pa.types.is_large_string, pa.types.is_large_binary)
_FEATURE_TAG = {pa.binary(): b"\x0a", pa.float32(): b"\x12", pa.int64(): b"\x1a"}

# The size of a part of a batch. In smaller parts numpy's overhead per call counts more. Larger ones
# leave the processor's cache, and Arrow's allocator returns 8 MiB at once.
_PART_EXAMPLE_BYTES = 5 << 20  # as Examples, without long values
_PART_ARROW_BYTES = 4 << 20  # as Arrow data, with long values
_VALUE_BYTES = 16  # of an entry without its name, estimated

_EXAMPLE_MAX_BYTES = (1 << 31) - 64  # protobuf's limit, less the frame of a record


def check_types(columns: dict[str, str]) -> None:
    """Raises ComponentError for the first column whose type no feature can hold.

    Args:
      columns: Column -> Spark's simple type string, as in `DataFrame.dtypes`.
    """
    for name, spark_type in columns.items():
        element = spark_type
        if spark_type.startswith("array<") and spark_type.endswith(">"):
            element = spark_type[len("array<") : -1]
        if element.partition("(")[0] not in FEATURE_KINDS:
            raise ComponentError(
                f"column '{name}' has Spark type {spark_type}, which no feature can hold; "
                "flatten or cast it in the ETL (see the type table in SparkExampleGen's README)"
            )


class ExampleEncoder:
    """Encodes batches; their schemas may differ."""

    def encode(self, batch: pa.RecordBatch) -> Iterator[tuple[pa.RecordBatch, pa.BinaryArray]]:
        """Yields the batch in parts, each with its rows as serialized Examples.

        Parts fit the processor's cache, and stay below Arrow's limit of 2 GiB in one array.

        Args:
          batch: One column per feature, of the types in the table.

        Raises:
          ComponentError: An array holds a null, no feature can hold a type, two columns have one
            name, or a row is too large for an Example.
        """
        names = batch.schema.names
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ComponentError(f"two columns are named '{twice}'; rename one in the ETL")
        for part in _parts(batch):
            yield part, _encoded(part)


def _parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    width = sum(len(name.encode()) + _VALUE_BYTES for name in batch.schema.names)
    most = max(_PART_EXAMPLE_BYTES // max(width, 1), 1)
    count = -(-batch.num_rows // most)
    rows = -(-batch.num_rows // max(count, 1))
    for start in range(0, batch.num_rows, max(rows, 1)):
        yield from _halves(batch.slice(start, rows))


def _halves(part: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    if part.num_rows == 1 or part.nbytes <= _PART_ARROW_BYTES:
        yield part
        return
    half = part.num_rows // 2
    yield from _halves(part.slice(0, half))
    yield from _halves(part.slice(half))


def _encoded(part: pa.RecordBatch) -> pa.BinaryArray:
    names = part.schema.names
    columns = {name.encode(): column for name, column in zip(names, part.columns, strict=True)}
    features = bc.constant(b"")
    for name in sorted(columns, key=wire.name_order):
        features += _map_entry(name, columns[name])
    examples = bc.delimited(b"\x0a", features)
    largest = int(np.max(examples.size))
    if largest > _EXAMPLE_MAX_BYTES:
        raise ComponentError(
            f"a row has {largest:,} bytes, and an example at most 2 GiB; shorten it in the ETL"
        )
    return bc.glue(examples.parts, part.num_rows)


def features_of(column: pa.Array) -> pa.BinaryArray:
    """Returns each value of a non-empty column as a serialized Feature."""
    return bc.glue(_feature(column).parts, len(column))


def _map_entry(name: bytes, column: pa.Array) -> ByteColumn:
    try:
        content = _feature(column)
    except ComponentError as error:
        raise ComponentError(f"column '{name.decode()}': {error}") from None
    feature = bc.constant(wire.delimited(b"\x0a", name)) + bc.delimited(b"\x12", content)
    return bc.delimited(b"\x0a", feature)


def _feature(column: pa.Array) -> ByteColumn:
    """Returns the serialized Feature of each row, with no value for a null."""
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        values = to_feature_values(column.flatten())
        if values.null_count:
            raise ComponentError(
                "an array holds a null, which no feature can hold; filter nulls in the ETL"
            )
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
        bounds = np.append(0, np.cumsum(lengths, dtype=np.int64))
        content = _many(values, bounds) if len(values) else bc.constant(b"")
    else:
        values = to_feature_values(column)
        present = column.is_valid().to_numpy(zero_copy_only=False) if column.null_count else None
        content = _at_most_one(values, present)
    return bc.delimited(_FEATURE_TAG[values.type], content)


def _at_most_one(values: pa.Array, present: NDArray[np.bool_] | None) -> ByteColumn:
    """Returns the content of a BytesList, FloatList or Int64List with one value or none."""
    if pa.types.is_binary(values.type):
        text = bc.ragged(Ragged.of(values))
        return bc.length_header(b"\x0a", text, present) + text
    packed = (bc.floats if pa.types.is_floating(values.type) else bc.varints)(
        _numbers(values), present
    )
    return bc.length_header(b"\x0a", packed, present) + packed


def _many(values: pa.Array, bounds: NDArray[np.int64]) -> ByteColumn:
    """Returns the content of a list with values bounds[i] to bounds[i + 1] in row i."""
    if pa.types.is_binary(values.type):
        each = bc.delimited(b"\x0a", bc.ragged(Ragged.of(values)))
        return bc.ragged(Ragged.of(bc.glue(each.parts, len(values))).grouped(bounds))
    if pa.types.is_floating(values.type):
        numbers = _numbers(values).astype("<f4", copy=False)
        packed = bc.ragged(Ragged(bounds * 4, numbers.view(np.uint8)))
    else:
        each = bc.varints(_numbers(values))
        packed = bc.ragged(Ragged.of(bc.glue(each.parts, len(values))).grouped(bounds))
    return bc.length_header(b"\x0a", packed, np.greater(packed.size, 0)) + packed


def _numbers(values: pa.Array) -> NDArray[Any]:
    """Returns float32 values, or int64 values as uint64; those of nulls are undefined."""
    if values.null_count:
        values = values.fill_null(0)
    numbers: NDArray[Any] = values.to_numpy()
    return numbers.view(np.uint64) if numbers.dtype == np.int64 else numbers


def to_feature_values(values: pa.Array) -> pa.Array:
    """Casts a flat array to int64, float32 or binary."""
    kind = values.type
    if kind in _FEATURE_TAG:
        return values
    if pa.types.is_timestamp(kind):
        values = values.cast(pa.timestamp("us", tz=kind.tz)).cast(pa.int64())
    elif pa.types.is_date(kind):
        values = values.cast(pa.date32()).cast(pa.int32()).cast(pa.int64())
    elif pa.types.is_decimal(kind):
        values = values.cast(pa.float64()).cast(pa.float32())
    elif pa.types.is_floating(kind):
        # safe=False: a double beyond float32 becomes infinity, as in TensorFlow
        values = values.cast(pa.float32(), safe=False)
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        values = values.cast(pa.int64())
    elif any(is_kind(kind) for is_kind in _OTHER_BYTES):
        values = values.cast(pa.binary())
    else:
        raise ComponentError(f"Arrow type {kind} has no feature; cast the column in the ETL")
    return values
