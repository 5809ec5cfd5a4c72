"""Reads a Kafka topic as a batch: the records between two offsets of each partition.

Kafka's own client in Spark's JVM decides the offsets once, and they are recorded. The same offsets
give the same records as long as the topic keeps its id and is not compacted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812

from base.errors import ComponentError
from spark_io.connectors.connector import ConnectorRows, InputLocation, SourceInput
from spark_io.connectors.json_lines import parse_json
from spark_io.connectors.secrets import secret_values
from spark_io.sources.column_names import LINE
from spark_io.sources.source_types import KafkaSource
from spark_io.sources.spans import (
    HOUR_US,
    SpanRange,
    describe_period,
    newest_complete_span,
    present_spans,
)

_TIMEOUT_MS = 20_000
_ISOLATION = "kafka.isolation.level"


def find(name: str, source: KafkaSource, wanted: SpanRange, place: InputLocation) -> SourceInput:
    """Finds the offsets of each partition.

    Raises:
      ComponentError: No broker answers, the topic or an offset does not exist, or a required span
        has no records.
    """
    with Topic.open(place.session(), name, source) as topic:
        earliest, latest = topic.offsets("earliest"), topic.offsets("latest")
        decided = place.decided.get(name)
        if decided is not None:
            offsets = {int(p): (s, e) for p, (s, e) in decided["offsets"].items()}
            found = SourceInput(
                tuple(decided["spans"]), None, _hourly(source), {}, has_spans=bool(source.span)
            )
        elif source.span:
            found, offsets = _window(name, source, wanted, topic)
        else:
            starts = _with_configured(source.start, earliest)
            ends = _with_configured(source.end, latest)
            partitions = starts.keys() | ends.keys()
            offsets = {p: (starts.get(p, 0), ends.get(p, 0)) for p in partitions}
            found = SourceInput((0,), None, None, {}, has_spans=False)
        _check_offsets(name, source.topic, offsets, earliest, latest)
        return found.with_facts(
            topic_id=topic.id,
            spans=list(found.spans),
            offsets={str(p): list(bounds) for p, bounds in sorted(offsets.items())},
        )


def read(
    spark: SparkSession, name: str, source: KafkaSource, found: SourceInput, base: str
) -> ConnectorRows:
    """Reads the declared columns of each record's value, and its position in the topic."""
    bounds = found.facts["offsets"]
    options = {
        **reader_options(name, source),
        "startingOffsets": json.dumps({source.topic: {p: b[0] for p, b in bounds.items()}}),
        "endingOffsets": json.dumps({source.topic: {p: b[1] for p, b in bounds.items()}}),
    }
    records = spark.read.format("kafka").options(**options).load()
    lines = records.select(
        F.coalesce(F.col("value").cast("string"), F.lit("")).alias(LINE),
        F.col("partition").alias("kafka_partition"),
        F.col("offset").alias("kafka_offset"),
        F.col("timestamp").alias("kafka_timestamp"),
    )
    return ConnectorRows(parse_json(lines, source.columns, {}), has_reasons=True)


def reader_options(name: str, source: KafkaSource) -> dict[str, str]:
    """Returns options for Spark's batch or streaming reader, secrets included."""
    return {
        _ISOLATION: "read_committed",  # skips records of aborted transactions
        **source.options,
        **secret_values(name, source),
        "kafka.bootstrap.servers": source.bootstrap_servers,
        "subscribe": source.topic,
        "failOnDataLoss": "true",  # expired records are an error, not a gap
    }


def _hourly(source: KafkaSource) -> bool | None:
    return source.span == "hour" if source.span else None


def _window(
    name: str, source: KafkaSource, wanted: SpanRange, topic: Topic
) -> tuple[SourceInput, dict[int, tuple[int, int]]]:
    """Finds the offsets of the wanted spans by the records' timestamps."""
    hourly = source.span == "hour"
    period = HOUR_US if hourly else 24 * HOUR_US
    last = wanted.last
    if last is None:
        last = newest_complete_span(topic.newest_us(), period, name)
    spans = range(last - wanted.length + 1, last + 1 + source.around.after)
    edges = [topic.offsets_at(span * period // 1000) for span in (*spans, spans.stop)]
    records = {
        span: sum(edges[i + 1][p] - edges[i][p] for p in edges[i]) for i, span in enumerate(spans)
    }
    present = present_spans(
        {span for span, count in records.items() if count > 0},
        SpanRange(wanted.length, last),
        name,
        lambda span: describe_period(span, hourly),
        source.around,
        lambda: newest_complete_span(topic.newest_us(), period, name),
    )
    offsets = {partition: (edges[0][partition], edges[-1][partition]) for partition in edges[0]}
    complete = source.complete_ms(last, present, None)
    return SourceInput(tuple(present), None, hourly, {}, complete_ms=complete), offsets


def _with_configured(wanted: str | Mapping[str, int], default: dict[int, int]) -> dict[int, int]:
    """Returns the offsets of the config; partitions that it does not name have the default."""
    if isinstance(wanted, str):
        return default
    return {**default, **{int(partition): int(offset) for partition, offset in wanted.items()}}


def _check_offsets(
    name: str,
    topic: str,
    offsets: dict[int, tuple[int, int]],
    earliest: dict[int, int],
    latest: dict[int, int],
) -> None:
    for partition, (start, end) in sorted(offsets.items()):
        if partition not in earliest:
            raise ComponentError(
                f"source '{name}': topic {topic} has no partition {partition}; it "
                f"has {len(earliest)}. Correct `start` and `end`"
            )
        low, high = earliest[partition], latest[partition]
        if not low <= start <= end <= high:
            raise ComponentError(
                f"source '{name}': offsets {start} to {end} of {topic}, partition {partition}, are "
                f"out of range: the topic holds {low} to {high}. Older records have expired, or "
                "the config names offsets that do not exist yet"
            )


class Topic:
    """A topic, as Kafka's AdminClient shows it."""

    def __init__(self, jvm: Any, admin: Any, name: str, isolation: str):
        self._jvm, self._admin, self._name = jvm, admin, name
        level = jvm.org.apache.kafka.common.IsolationLevel.valueOf(isolation.upper())
        # With another level the end would include records of open transactions, for which a reader
        # of committed records would wait.
        self._options = jvm.org.apache.kafka.clients.admin.ListOffsetsOptions(level)
        names = jvm.java.util.Collections.singletonList(name)
        described = self._wait(admin.describeTopics(names).allTopicNames()).get(name)
        self.id = str(described.topicId().toString())
        self.partitions = [partition.partition() for partition in described.partitions()]

    @classmethod
    @contextmanager
    def open(cls, spark: SparkSession, name: str, source: KafkaSource) -> Iterator[Topic]:
        """Connects to a topic; the client's exceptions become ComponentErrors."""
        from py4j.protocol import Py4JJavaError

        jvm: Any = spark._jvm
        settings = jvm.java.util.Properties()
        settings.setProperty("default.api.timeout.ms", str(_TIMEOUT_MS))
        settings.setProperty("request.timeout.ms", str(_TIMEOUT_MS // 2))
        options = reader_options(name, source)
        for key, value in options.items():
            if key.startswith("kafka.") and key != _ISOLATION:
                settings.setProperty(key.removeprefix("kafka."), value)
        admin = None
        try:
            admin = _admin_client(jvm).create(settings)
            yield cls(jvm, admin, source.topic, options[_ISOLATION])
        except Py4JJavaError as error:
            raise ComponentError(f"source '{name}': {_reason(error, source)}") from error
        finally:
            if admin is not None:
                admin.close(jvm.java.time.Duration.ofSeconds(1))

    def offsets(self, which: str) -> dict[int, int]:
        """Returns the 'earliest' or 'latest' offset of each partition."""
        spec = getattr(self._spec(), which)()
        return {partition: info.offset() for partition, info in self._list(spec).items()}

    def offsets_at(self, time_ms: int) -> dict[int, int]:
        """Returns each partition's first offset at or after a time, or its end if there is none."""
        found = self._list(self._spec().forTimestamp(time_ms))
        ends = self.offsets("latest")
        return {p: info.offset() if info.offset() >= 0 else ends[p] for p, info in found.items()}

    def newest_us(self) -> int | None:
        """Returns the largest timestamp of any record, in microseconds; None without records."""
        found = self._list(self._spec().maxTimestamp())
        times = [info.timestamp() for info in found.values() if info.offset() >= 0]
        return max(times) * 1000 if times else None

    def _spec(self) -> Any:
        return self._jvm.org.apache.kafka.clients.admin.OffsetSpec

    def _list(self, spec: Any) -> dict[int, Any]:
        partition_of = self._jvm.org.apache.kafka.common.TopicPartition
        asked = self._jvm.java.util.HashMap()
        keys = {partition: partition_of(self._name, partition) for partition in self.partitions}
        for key in keys.values():
            asked.put(key, spec)
        answer = self._wait(self._admin.listOffsets(asked, self._options).all())
        return {partition: answer.get(key) for partition, key in keys.items()}

    def _wait(self, future: Any) -> Any:
        return future.get(2 * _TIMEOUT_MS, self._jvm.java.util.concurrent.TimeUnit.MILLISECONDS)


def _admin_client(jvm: Any) -> Any:
    client = jvm.org.apache.kafka.clients.admin.AdminClient
    if type(client).__name__ == "JavaPackage":  # for py4j an unknown class is a package
        raise ComponentError(
            "Kafka's client is not on Spark's class path: run `make jars`, and name its jars in "
            "the Spark configuration (jars: [jars/spark/*.jar])"
        )
    return client


def _reason(error: Any, source: KafkaSource) -> str:
    text = str(error.java_exception.toString())
    cause = error.java_exception.getCause()
    if cause is not None:
        text += f" {cause.toString()}"
    if "UnknownTopic" in text:
        return f"there is no topic {source.topic} at {source.bootstrap_servers}"
    if "Timeout" in text or "No resolvable bootstrap" in text:
        return (
            f"no Kafka broker answers at {source.bootstrap_servers}; check that it runs, and check "
            "its address and the security settings"
        )
    if "Authentication" in text or "Authorization" in text:
        return f"Kafka at {source.bootstrap_servers} denied access: {text.splitlines()[0][:200]}"
    return f"Kafka: {text.splitlines()[0][:300]}"
