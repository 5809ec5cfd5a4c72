"""Reads TFRecord files of tf.train.Examples, such as the output of another pipeline.

Spark reads whole files, because `binaryFile` works on all of its file systems without a jar. So a
worker holds one file in memory, which suits shards of some hundred megabytes as TFX writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, DataFrameReader
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DataType,
    DoubleType,
    FloatType,
    StringType,
    StructField,
    StructType,
)

import base.arrow  # noqa: F401
from base.errors import ComponentError
from spark_io.connectors.json_lines import declared
from spark_io.examples.tfrecord_reader import read_records
from spark_io.sources.source_types import FileSource

# Spark types that a feature can be read as.
_READABLE = {
    "bigint": pa.int64(),
    "int": pa.int32(),
    "smallint": pa.int16(),
    "tinyint": pa.int8(),
    "boolean": pa.bool_(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "binary": pa.binary(),
}
_RECORD = StructType([StructField("record", BinaryType()), StructField("file", StringType())])


def read_tfrecords(
    reader: DataFrameReader, name: str, source: FileSource, paths: list[str]
) -> DataFrame:
    """Returns the declared columns of every record.

    Args:
      reader: Spark's reader.
      name: Name of the source.
      source: Declaration of the source.
      paths: Paths, as Spark takes them.

    Raises:
      ComponentError: A column has a type that no feature can be read as. In Spark's workers: a file
        is damaged, a record is no Example, or a feature does not fit its column.
    """
    check_types(name, source.columns)
    files = reader.format("binaryFile").load(paths).select("path", "content")
    records = files.rdd.flatMap(
        lambda file: ((record, file[0]) for record in read_records(file[0], bytes(file[1])))
    )
    schema = declared(files, source.columns)
    frame = files.sparkSession.createDataFrame(records, _RECORD)
    # Numbered, because mapInArrow of Spark 3.5 takes a dot in a name for a field of a struct.
    numbered = StructType(
        [StructField(f"c{number}", field.dataType) for number, field in enumerate(schema.fields)]
    )
    return frame.mapInArrow(decoder(schema), numbered).toDF(*schema.names)


def decoder(
    schema: StructType,
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Returns the function for `DataFrame.mapInArrow` that decodes batches of records."""

    def decode(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from tensorflow_metadata.proto.v0 import schema_pb2
        from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

        features = [
            schema_pb2.Feature(name=field.name, type=_feature_type(field.dataType))
            for field in schema.fields
        ]
        wanted = schema_pb2.Schema(feature=features).SerializeToString()
        coder = ExamplesToRecordBatchDecoder(wanted)
        for batch in batches:
            records, files = (column.to_pylist() for column in batch.columns)
            try:
                columns = _decoded(coder, records, schema)
            except ComponentError:
                for record, file in zip(records, files, strict=True):
                    _decode_one(coder, record, file, schema)
                raise
            names = [f"c{number}" for number in range(len(columns))]
            yield pa.RecordBatch.from_arrays(columns, names=names)

    return decode


def _decoded(coder: Any, records: list[bytes], schema: StructType) -> list[pa.Array]:
    try:
        lists = coder.DecodeBatch(records)
    except (RuntimeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise ComponentError(f"a record is no tf.train.Example of `columns`: {first}") from None
    return [_column(lists, field.name, field.dataType) for field in schema.fields]


def _decode_one(coder: Any, record: bytes, file: str, schema: StructType) -> None:
    """Raises ComponentError that names the file, if the record cannot be decoded."""
    try:
        _decoded(coder, [record], schema)
    except ComponentError as error:
        raise ComponentError(f"{file}: {error}") from None


def check_types(name: str, columns: Mapping[str, str]) -> None:
    """Raises ComponentError for a column with a type that no feature can be read as."""
    for column, kind in columns.items():
        element = kind.removeprefix("array<").removesuffix(">")
        if element not in _READABLE:
            raise ComponentError(
                f"source '{name}': a feature cannot be read as {kind} (column '{column}'); use "
                f"one of {', '.join(_READABLE)} or an array of it, and cast it in the ETL"
            )


def _feature_type(kind: DataType) -> Any:
    from tensorflow_metadata.proto.v0 import schema_pb2

    element = kind.elementType if isinstance(kind, ArrayType) else kind
    if isinstance(element, StringType | BinaryType):
        return schema_pb2.BYTES
    return schema_pb2.FLOAT if isinstance(element, FloatType | DoubleType) else schema_pb2.INT


def _column(lists: pa.RecordBatch, name: str, kind: DataType) -> pa.Array:
    """Converts lists to one value or null per row, or keeps them for an array column."""
    column = lists.column(lists.schema.get_field_index(name))
    if isinstance(kind, ArrayType):
        return _cast(column, name, kind.elementType)
    lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    if (lengths > 1).any():
        raise ComponentError(
            f"feature '{name}' has several values in a record; declare it as array<...>"
        )
    values = _cast(column.flatten(), name, kind)
    take = pa.array([i if n else None for i, n in zip(lengths.cumsum() - 1, lengths, strict=True)])
    return values.take(take.cast(pa.int64()))


def _cast(values: pa.Array, name: str, element: DataType) -> pa.Array:
    """Casts values or lists to a Spark type; raises ComponentError if one does not fit."""
    wanted, flat = _READABLE[element.simpleString()], values
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        wanted, flat = pa.list_(wanted), values.flatten()
    try:
        if isinstance(element, BooleanType) and not _are_booleans(flat):
            raise pa.ArrowInvalid("a value is neither 0 nor 1")
        return values.cast(wanted)
    except pa.ArrowInvalid as error:
        raise ComponentError(
            f"feature '{name}' does not fit {element.simpleString()}: {error}"
        ) from None


def _are_booleans(numbers: pa.Array) -> bool:
    return pc.all(pc.is_in(numbers.drop_null(), pa.array([0, 1]))).as_py() is not False
