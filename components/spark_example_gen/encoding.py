"""Arrow record batches to serialized tf.train.Example, without a Python loop over rows.

The type table (README.md has it in full) is `FEATURE_KINDS` below. A null is a feature without a
value; zeros, NaN, empty strings and empty lists stay what they are.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

from components.errors import ComponentError

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


def check_types(columns: dict[str, str]) -> None:
    """Raises ComponentError naming the first column whose type no feature can hold.

    Args:
      columns: column -> Spark's simple type string, as in `DataFrame.dtypes`.
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
    """Encodes batches. The order of features within an example is the encoder's own."""

    def __init__(self) -> None:
        self._encoder = RecordBatchToExamplesEncoder()

    def encode(self, batch: pa.RecordBatch) -> list[bytes]:
        columns = [to_feature_lists(column) for column in batch.columns]
        lists = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
        encoded: list[bytes] = self._encoder.encode(lists)
        return encoded


def to_feature_lists(column: pa.Array) -> pa.Array:
    """One list of values a row: [v] for a value, [] for a null, an array's own elements."""
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        flat = column.flatten()
        lengths = pc.fill_null(pc.list_value_length(column), 0)
        values = to_feature_values(flat)
        if values.null_count:
            raise ComponentError("an array holds a null element; filter nulls in the ETL")
    else:
        lengths = pc.cast(pc.is_valid(column), pa.int32())
        values = to_feature_values(column.drop_null() if column.null_count else column)
    return pa.ListArray.from_arrays(_offsets(lengths), values)


def to_feature_values(values: pa.Array) -> pa.Array:
    """Casts a flat array to int64, float32 or binary."""
    kind = values.type
    if pa.types.is_timestamp(kind):
        values = values.cast(pa.timestamp("us", tz=kind.tz)).cast(pa.int64())
    elif pa.types.is_date(kind):
        values = values.cast(pa.date32()).cast(pa.int32()).cast(pa.int64())
    elif pa.types.is_decimal(kind):
        values = values.cast(pa.float64()).cast(pa.float32())
    elif pa.types.is_floating(kind):
        # safe=False: a double beyond float32 becomes infinity, as everywhere in TensorFlow
        values = values.cast(pa.float32(), safe=False)
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        values = values.cast(pa.int64())
    elif any(is_kind(kind) for is_kind in _OTHER_BYTES):
        values = values.cast(pa.binary())
    elif not pa.types.is_binary(kind):
        raise ComponentError(f"Arrow type {kind} has no feature; cast the column in the ETL")
    return values


def _offsets(lengths: pa.Array) -> pa.Array:
    starts = pc.cumulative_sum(lengths.cast(pa.int32()))
    return pa.concat_arrays([pa.array([0], pa.int32()), starts.cast(pa.int32())])
