"""Kafka topics, or folders that files appear in, as streaming DataFrames of lines."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from components.spark_example_gen.connectors.kafka import Topic, reader_options
from components.spark_example_gen.rows import LINE
from components.spark_example_gen.sources import KafkaSource
from pipeline.streaming_sections import EventStream, Streaming
from streaming.layout import CLICKS, STREAMS

PARTITION, OFFSET = "_partition", "_offset"  # where a line lies


def declared(settings: Streaming, stream: str) -> EventStream:
    """The config's section of a stream."""
    return settings.clicks if stream == CLICKS else settings.impressions


def check(spark: SparkSession, settings: Streaming) -> None:
    """Whether there is something to read from.

    Raises:
      ComponentError: no broker, no topic, no folder.
    """
    for stream in STREAMS:
        if settings.kafka is not None:
            with Topic.open(spark, stream, _kafka_source(settings, stream)):
                pass
        else:
            _watched(settings, stream).mkdir(parents=True, exist_ok=True)


def lines(spark: SparkSession, settings: Streaming, stream: str) -> DataFrame:
    """LINE, PARTITION (text) and OFFSET (of Kafka; null for files), unbounded."""
    if settings.kafka is None:
        reader = spark.readStream.option("maxFilesPerTrigger", settings.max_files_per_batch)
        folder = str(_watched(settings, stream).resolve())
        read = reader.option("recursiveFileLookup", "true").text(folder)
        columns = (F.lit(None).cast("int"), F.lit(None).cast("bigint"))
    else:
        source = _kafka_source(settings, stream)
        options = {
            "maxOffsetsPerTrigger": str(settings.max_events_per_batch),
            **reader_options(stream, source),
            "startingOffsets": "earliest",
        }
        read = spark.readStream.format("kafka").options(**options).load()
        columns = (F.col("partition"), F.col("offset"))
    partition, offset = columns
    line = F.coalesce(F.col("value").cast("string"), F.lit(""))  # a record may have no value
    found = read.select(line.alias(LINE), partition.alias(PARTITION), offset.alias(OFFSET))
    return found.where(F.trim(F.col(LINE)) != "") if settings.kafka is None else found


def _kafka_source(settings: Streaming, stream: str) -> KafkaSource:
    assert settings.kafka is not None
    events = declared(settings, stream)
    return KafkaSource(
        settings.kafka.bootstrap_servers,
        events.topic or stream,
        events.columns,
        options=settings.kafka.options,
        options_env=settings.kafka.options_env,
    )


def _watched(settings: Streaming, stream: str) -> Path:
    assert settings.watched is not None
    return settings.watched / stream
