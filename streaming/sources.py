"""Reads Kafka topics as streaming DataFrames of lines, and files as batches of lines."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from base.errors import ComponentError
from pipeline.streaming_sections import Streaming
from spark_io.connectors.hadoop import for_spark
from spark_io.connectors.kafka import Topic, reader_options
from spark_io.connectors.lines import read_lines
from spark_io.jobs.errors import explain
from spark_io.sources.column_names import LINE, quoted
from spark_io.sources.source_types import KafkaSource
from streaming.column_names import OFFSET, PARTITION, check_columns
from streaming.file_rounds import watched_folder


def check(spark: SparkSession, settings: Streaming) -> None:
    """Checks that the source exists, and that the columns have valid names and types.

    Raises:
      ComponentError: There is no broker or topic, or a column has an invalid name or type.
    """
    check_columns(settings)
    for stream, events in settings.streams.items():
        for column, kind in events.columns.items():
            try:
                spark.createDataFrame([], f"{quoted(column)} {kind}")
            except PySparkException as error:
                raise ComponentError(
                    f"streaming.streams.{stream}.columns: expected a Spark SQL type, such as "
                    f"bigint or string. Received: {column}: {kind} ({explain(error)[:200]})"
                ) from error
        if settings.kafka is not None:
            with Topic.open(spark, stream, kafka_source(settings, stream)):
                pass
        else:
            watched_folder(settings, stream).mkdir(parents=True, exist_ok=True)


def kafka_lines(spark: SparkSession, settings: Streaming, stream: str) -> DataFrame:
    """Returns LINE, PARTITION and OFFSET of a topic, unbounded."""
    options = {
        "maxOffsetsPerTrigger": str(settings.max_events_per_batch),
        **reader_options(stream, kafka_source(settings, stream)),
        "startingOffsets": "earliest",
    }
    read = spark.readStream.format("kafka").options(**options).load()
    line = F.coalesce(F.col("value").cast("string"), F.lit(""))  # a record without a value
    partition, offset = F.col("partition").alias(PARTITION), F.col("offset").alias(OFFSET)
    return read.select(line.alias(LINE), partition, offset)


def file_lines(spark: SparkSession, paths: Iterable[Path]) -> DataFrame:
    """Returns LINE of files, without blank lines; PARTITION and OFFSET are null.

    Args:
      spark: Spark session.
      paths: Absolute paths, not patterns.
    """
    lines = read_lines(spark.read, [for_spark(str(path)) for path in paths])
    null = F.lit(None)
    return lines.select(LINE, null.cast("int").alias(PARTITION), null.cast("bigint").alias(OFFSET))


def kafka_source(settings: Streaming, stream: str) -> KafkaSource:
    """Returns the topic of a stream as a batch source."""
    assert settings.kafka is not None
    events = settings.streams[stream]
    return KafkaSource(
        settings.kafka.bootstrap_servers,
        events.topic or stream,
        {"value": "string"},  # parsed later
        options=settings.kafka.options,
        options_env=settings.kafka.options_env,
    )
