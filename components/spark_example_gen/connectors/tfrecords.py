"""TFRecord files of tf.train.Examples as a source: what a pipeline before ours has written.

Spark reads whole files (`binaryFiles` works on every file system of Spark's, without a jar of our
own), so a worker holds one file in memory: shards of some hundred megabytes, as TFX writes them.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import google_crc32c
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    DataType,
    DoubleType,
    FloatType,
    StringType,
    StructField,
    StructType,
)

from components.errors import ComponentError
from components.spark_example_gen.rows import quoted
from components.spark_example_gen.sources import FileSource

_INTEGERS = ("bigint", "int", "smallint", "tinyint", "boolean")
_READABLE = (*_INTEGERS, "float", "double", "string", "binary")
_GZIP = b"\x1f\x8b"
_RECORD = StructType([StructField("record", BinaryType())])


def read_tfrecords(
    spark: SparkSession, name: str, source: FileSource, uris: list[str]
) -> DataFrame:
    """The declared columns of every record.

    Raises (but for the first one in Spark's workers):
      ComponentError: a column of a type that no feature is read as.
      ComponentError: a damaged file, a record that is no Example, a feature of another kind, or
        several values where the column is no array.
    """
    check_types(name, source.columns)
    files = spark.sparkContext.binaryFiles(",".join(uris), minPartitions=len(uris))
    records = files.flatMap(lambda file: ((record,) for record in read_records(*file)))
    # Through a text: StructType.fromDDL is not in both Sparks.
    columns = ", ".join(f"{quoted(column)} {kind}" for column, kind in source.columns.items())
    schema = spark.createDataFrame([], columns).schema
    frame = spark.createDataFrame(records, _RECORD)
    return frame.mapInArrow(decoder(schema), schema)


def read_records(path: str, content: bytes) -> Iterator[bytes]:
    """The records of one file (format: length, its CRC32C, data, its CRC32C; masked)."""
    try:
        data = gzip.decompress(content) if content[:2] == _GZIP else content
    except (OSError, EOFError) as error:
        raise ComponentError(f"{path} is cut short or damaged; replace it") from error
    position = 0
    while position < len(data):
        header = data[position : position + 12]
        if len(header) == 12 and struct.unpack("<I", header[8:])[0] == _masked(header[:8]):
            length = struct.unpack("<Q", header[:8])[0]
            record = data[position + 12 : position + 12 + length]
            footer = data[position + 12 + length : position + 16 + length]
            if len(footer) == 4 and struct.unpack("<I", footer)[0] == _masked(record):
                position += length + 16
                yield record
                continue
        raise ComponentError(f"{path} is cut short or damaged, or no TFRecord file; replace it")


def _masked(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def decoder(
    schema: StructType,
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function for `DataFrame.mapInArrow`: a batch of records to columns."""

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
            try:
                lists = coder.DecodeBatch(batch.column(0).to_pylist())
            except Exception as error:
                first = str(error).splitlines()[0]
                raise ComponentError(
                    f"a record is no tf.train.Example of `columns`: {first}"
                ) from error
            columns = [_column(lists, field.name, field.dataType) for field in schema.fields]
            yield pa.RecordBatch.from_arrays(columns, names=schema.names)

    return decode


def check_types(name: str, columns: Mapping[str, str]) -> None:
    """Raises ComponentError naming a column that is nothing a feature is read as."""
    for column, kind in columns.items():
        element = kind.removeprefix("array<").removesuffix(">")
        if element not in _READABLE:
            raise ComponentError(
                f"source '{name}': a feature cannot be read as {kind} (column '{column}'); take "
                f"one of {', '.join(_READABLE)} or an array of it, and cast it in the ETL"
            )


def _feature_type(kind: DataType) -> Any:
    from tensorflow_metadata.proto.v0 import schema_pb2

    element = kind.elementType if isinstance(kind, ArrayType) else kind
    if isinstance(element, StringType | BinaryType):
        return schema_pb2.BYTES
    return schema_pb2.FLOAT if isinstance(element, FloatType | DoubleType) else schema_pb2.INT


def _column(lists: pa.RecordBatch, name: str, kind: DataType) -> pa.Array:
    """Lists of values to one value or null a row; lists stay lists for an array column."""
    from pyspark.sql.pandas.types import to_arrow_type

    wanted = to_arrow_type(kind)
    column = lists.column(lists.schema.get_field_index(name))
    if isinstance(kind, ArrayType):
        return column.cast(wanted)
    lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    if (lengths > 1).any():
        raise ComponentError(
            f"feature '{name}' has several values in a record; declare it as array<...>"
        )
    values = column.flatten().cast(wanted)
    take = pa.array([i if n else None for i, n in zip(lengths.cumsum() - 1, lengths, strict=True)])
    return values.take(take.cast(pa.int64()))
