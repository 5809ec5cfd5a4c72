"""Kafka as a source: the records between offsets, on a real broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from dev_services.kafka import Kafka
from spark_io.connectors.connector import InputLocation
from spark_io.sources.inputs import find_inputs
from spark_io.sources.source_types import KafkaSource
from spark_io.sources.spans import SpanRange
from tests.spark_io.readings import COLUMNS, failure, published, reading

pytestmark = pytest.mark.integration

ETL = "tests.spark_io.sensor_etl.without_time"
FIRST_HOUR = 474_792  # 2024-03-01T00
HOUR_MS = 3_600_000


@pytest.fixture
def topic(spark: SparkSession, kafka_service: Kafka, request: pytest.FixtureRequest) -> str:
    """Hours 0 and 1 of a day, 20 readings in each, and one of hour 2."""
    name = request.node.name.replace("[", "-").replace("]", "")
    rows = [
        (json.dumps(reading(100 * hour + n)), FIRST_HOUR * HOUR_MS + hour * HOUR_MS + n * 60_000)
        for hour, count in ((0, 20), (1, 20), (2, 1))
        for n in range(count)
    ]
    produce(spark, kafka_service, name, rows)
    return name


def producer_settings(spark: SparkSession, service: Kafka, transaction: str = "") -> Any:
    jvm: Any = spark._jvm
    settings = jvm.java.util.Properties()
    settings.setProperty("bootstrap.servers", service.bootstrap_servers)
    for side in ("key", "value"):
        serializer = "org.apache.kafka.common.serialization.StringSerializer"
        settings.setProperty(f"{side}.serializer", serializer)
    if transaction:
        settings.setProperty("transactional.id", transaction)
    return settings


def produce(spark: SparkSession, service: Kafka, topic: str, rows: list[tuple[str, int]]) -> None:
    """Value and timestamp (milliseconds); by Kafka's own client, for Spark's sink sets no time."""
    jvm: Any = spark._jvm
    clients = jvm.org.apache.kafka.clients.producer
    producer = clients.KafkaProducer(producer_settings(spark, service))
    for value, time_ms in rows:
        producer.send(clients.ProducerRecord(topic, 0, time_ms, None, value))
    producer.close()


def kafka(service: Kafka, topic: str, **fields: Any) -> dict[str, KafkaSource]:
    return {"readings": KafkaSource(service.bootstrap_servers, topic, COLUMNS, **fields)}


def test_a_topic_from_end_to_end(run, spark, tmp_path: Path, kafka_service, topic: str) -> None:
    produce(spark, kafka_service, topic, [("not json", FIRST_HOUR * HOUR_MS)])
    manifest = run(sources=kafka(kafka_service, topic), etl=ETL)
    assert published(tmp_path) == [*range(20), *range(100, 120), 200]
    assert manifest["quarantined"] == {"readings": {"unparseable": 1}}
    assert manifest["sources"][0]["offsets"] == {"0": [0, 42]}


def test_a_window_of_a_topic(run, tmp_path: Path, kafka_service, topic: str) -> None:
    manifest = run(sources=kafka(kafka_service, topic, span="hour"), etl=ETL)
    assert manifest["spans"] == [FIRST_HOUR + 1]  # hour 2 may not be over
    assert manifest["sources"][0]["offsets"] == {"0": [20, 40]}
    assert published(tmp_path) == list(range(100, 120))


def test_a_window_with_a_hole(run, kafka_service, topic: str) -> None:
    sources = kafka(kafka_service, topic, span="hour")
    message = failure(run, sources=sources, etl=ETL, length=3, last=FIRST_HOUR + 1)
    assert "missing span 474791 (2024-02-29T23)" in message


def test_given_offsets(run, tmp_path: Path, kafka_service, topic: str) -> None:
    run(sources=kafka(kafka_service, topic, start={"0": 5}, end={"0": 35}), etl=ETL)
    assert published(tmp_path) == [*range(5, 20), *range(100, 115)]


@pytest.mark.parametrize("offsets", [{"end": {"0": 99}}, {"start": {"0": 50}}])
def test_offsets_out_of_range(run, kafka_service, topic: str, offsets) -> None:
    message = failure(run, sources=kafka(kafka_service, topic, **offsets), etl=ETL)
    assert "out of range: the topic holds 0 to 41" in message


def test_a_partition_that_is_not_there(run, kafka_service, topic: str) -> None:
    sources = kafka(kafka_service, topic, start={"7": 0}, end={"7": 1})
    assert "has no partition 7" in failure(run, sources=sources, etl=ETL)


def test_what_was_decided_is_read_though_more_has_come(
    run, spark, tmp_path: Path, kafka_service, topic: str
) -> None:
    sources = kafka(kafka_service, topic)
    decided = find_inputs(sources, SpanRange(), InputLocation("", spark))
    produce(spark, kafka_service, topic, [(json.dumps(reading(300)), FIRST_HOUR * HOUR_MS)])
    manifest = run(sources=sources, etl=ETL, decided=decided.facts())
    assert 300 not in published(tmp_path)
    assert manifest["input_fingerprint"] == decided.fingerprint()


def test_what_a_transaction_took_back_is_no_record(
    run, spark, tmp_path: Path, kafka_service, topic: str
) -> None:
    jvm: Any = spark._jvm
    clients = jvm.org.apache.kafka.clients.producer
    producer = clients.KafkaProducer(producer_settings(spark, kafka_service, "tests"))
    producer.initTransactions()
    for end in (producer.abortTransaction, producer.commitTransaction):
        producer.beginTransaction()
        for number in (300, 301):
            value = json.dumps(reading(number))
            producer.send(clients.ProducerRecord(topic, 0, FIRST_HOUR * HOUR_MS, None, value))
        end()
    producer.close()
    run(sources=kafka(kafka_service, topic), etl=ETL)
    assert published(tmp_path) == [*range(20), *range(100, 120), 200, 300, 301]


@pytest.fixture
def open_transaction(
    spark: SparkSession, kafka_service: Kafka, topic: str
) -> Iterator[tuple[Any, Any]]:
    """A producer that has sent two records, and has not said what becomes of them."""
    jvm: Any = spark._jvm
    clients = jvm.org.apache.kafka.clients.producer
    producer = clients.KafkaProducer(producer_settings(spark, kafka_service, f"open-{topic}"))
    producer.initTransactions()
    producer.beginTransaction()
    for number in (300, 301):
        value = json.dumps(reading(number))
        time_ms = (FIRST_HOUR + 2) * HOUR_MS + number * 1000
        producer.send(clients.ProducerRecord(topic, 0, time_ms, None, value))
    producer.flush()
    yield producer, clients
    producer.close()


def test_an_open_transaction_is_not_waited_for(
    run, tmp_path: Path, kafka_service, topic: str, open_transaction
) -> None:
    sources = kafka(kafka_service, topic)
    manifest = run(sources=sources, etl=ETL)
    assert manifest["sources"][0]["offsets"] == {"0": [0, 41]}
    assert published(tmp_path) == [*range(20), *range(100, 120), 200]
    message = failure(run, sources=kafka(kafka_service, topic, end={"0": 43}), etl=ETL)
    assert "out of range: the topic holds 0 to 41" in message


def test_records_behind_an_open_transaction_come_when_it_ends(
    run, spark, tmp_path: Path, kafka_service, topic: str, open_transaction
) -> None:
    produce(spark, kafka_service, topic, [(json.dumps(reading(400)), FIRST_HOUR * HOUR_MS)])
    sources = kafka(kafka_service, topic)
    assert find_inputs(sources, SpanRange(), InputLocation("", spark)).facts()["readings"][
        "offsets"
    ] == {"0": [0, 41]}
    producer, _ = open_transaction
    producer.commitTransaction()
    run(sources=sources, etl=ETL)
    assert published(tmp_path) == [*range(20), *range(100, 120), 200, 300, 301, 400]


def test_uncommitted_records_if_the_source_says_so(
    run, tmp_path: Path, kafka_service, topic: str, open_transaction
) -> None:
    options = {"kafka.isolation.level": "read_uncommitted"}
    run(sources=kafka(kafka_service, topic, options=options), etl=ETL)
    assert published(tmp_path) == [*range(20), *range(100, 120), 200, 300, 301]


def test_an_hour_that_has_yet_to_come_is_no_quiet_one(
    run, spark, kafka_service, topic: str
) -> None:
    sources = kafka(kafka_service, topic, span="hour", missing_spans="allow", spans_after=3)
    wanted = SpanRange(1, FIRST_HOUR + 1)
    with pytest.raises(
        Exception, match=r"474795 \(2024-03-01T03\) and 1 more may not have arrived"
    ):
        find_inputs(sources, wanted, InputLocation("", spark))
    newer = (json.dumps(reading(500)), (FIRST_HOUR + 9) * HOUR_MS)
    produce(spark, kafka_service, topic, [newer])
    found = find_inputs(sources, wanted, InputLocation("", spark))
    assert found.spans == (FIRST_HOUR + 1, FIRST_HOUR + 2)


def test_no_topic_and_no_broker(run, spark, kafka_service) -> None:
    admin = {"kafka.allow.auto.create.topics": "false"}
    sources = kafka(kafka_service, "nowhere", options=admin)
    assert "there is no topic nowhere" in failure(run, sources=sources, etl=ETL)
    sources = {"readings": KafkaSource("127.0.0.1:1", "t", COLUMNS)}
    assert "no Kafka broker answers at 127.0.0.1:1" in failure(run, sources=sources, etl=ETL)
