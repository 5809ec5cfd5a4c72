"""A recreated or cut topic stops ingest until its loss is accepted, which is recorded."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from base.errors import ComponentError
from dev_services.kafka import Kafka, create_topics
from pipeline.streaming_sections import KafkaBroker, Streaming
from streaming.accounts import accounts
from streaming.feedback.sinks import KafkaSink
from streaming.ingest import ingest
from streaming.layout import Layout
from streaming.topics import CUT, EXPIRED, RECREATED, TopicError, Topics, accepted_losses
from tests.product import ROOT
from tests.streaming.event_log import STREAMS, lines_of, settings

pytestmark = pytest.mark.integration


class Setting:
    """Two new topics with one partition each, and the settings to read them."""

    def __init__(self, broker: Kafka, spark: Any, folder: Path, lines: dict[str, list[bytes]]):
        self.broker, self.spark, self.lines = broker, spark, lines
        self.names = {stream: f"{stream}-{uuid.uuid4().hex[:8]}" for stream in STREAMS}
        self.admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        create_topics(broker.bootstrap_servers, self.names.values())
        servers = {"bootstrap_servers": broker.bootstrap_servers}
        made = settings(folder, kafka=servers)
        named = {
            stream: made.streams[stream].model_copy(update={"topic": self.names[stream]})
            for stream in STREAMS
        }
        self.streaming: Streaming = made.model_copy(update={"streams": named})
        self.told: list[tuple[str, dict[str, Any]]] = []

    def send(self, first: int, last: int) -> None:
        sink = KafkaSink(KafkaBroker(bootstrap_servers=self.broker.bootstrap_servers), self.names)
        for stream in STREAMS:
            sink.send_text(stream, (("", line) for line in self.lines[stream][first:last]))

    def ingest(self) -> int:
        """Ingests all records, and returns the total number of impressions read."""
        ingest(self.spark, self.streaming, lambda *what: self.told.append(what), once=True)
        return accounts(Layout(self.streaming.folder))["read"]["impressions"]

    def recreate(self) -> None:
        for future in self.admin.delete_topics(list(self.names.values())).values():
            future.result()
        create_topics(self.broker.bootstrap_servers, self.names.values())

    def topics(self) -> Topics:
        return Topics(self.spark, self.streaming, lambda *what: self.told.append(what))


@pytest.fixture
def setting(spark: Any, kafka_service: Kafka, tmp_path: Path, dirty_log: Path) -> Iterator[Setting]:
    lines = {stream: lines_of(dirty_log / stream) for stream in STREAMS}
    made = Setting(kafka_service, spark, tmp_path / "out", lines)
    yield made
    made.admin.delete_topics(list(made.names.values()))


def test_a_recreated_topic_with_more_records_stops_ingest(setting: Setting) -> None:
    """Spark would continue at the offset of the old topic."""
    setting.send(0, 40)
    assert setting.ingest() == 40
    setting.recreate()
    setting.send(40, 140)
    for _ in range(2):  # trying again does not help
        with pytest.raises(TopicError, match=r"was deleted and recreated .* accept-loss"):
            setting.ingest()
    topics = setting.topics()
    losses = topics.accept()
    assert [(loss.kind, loss.records) for loss in losses] == [(RECREATED, None)] * 2
    assert losses[0].before == {0: 40}
    assert losses[0].after == {0: 0}
    assert setting.ingest() == 140  # all records of the new topic
    assert topics.losses() == []
    assert topics.accept() == []
    kept = accepted_losses(setting.streaming.folder)
    assert [one["kind"] for one in kept] == [RECREATED] * 2
    assert kept[0]["was"] != kept[0]["now"]


def test_a_recreated_topic_with_fewer_records_is_recognized(setting: Setting) -> None:
    setting.send(0, 40)
    setting.ingest()
    setting.recreate()
    with pytest.raises(TopicError, match="was deleted and recreated"):
        setting.ingest()


def test_expired_records_are_counted(setting: Setting) -> None:
    setting.send(0, 40)
    setting.ingest()
    setting.send(40, 100)
    places = [TopicPartition(name, 0, 70) for name in setting.names.values()]
    for future in setting.admin.delete_records(places).values():
        future.result()
    with pytest.raises(TopicError, match="up to 30 records are lost"):
        setting.ingest()
    losses = setting.topics().accept()
    assert [(loss.kind, loss.records) for loss in losses] == [(EXPIRED, 30)] * 2
    assert setting.ingest() == 70
    assert {one["records"] for one in accepted_losses(setting.streaming.folder)} == {30}


def test_a_topic_that_ends_before_the_position_read_stops_ingest(setting: Setting) -> None:
    setting.send(0, 40)
    setting.ingest()
    # The checkpoint is ahead of the topic, as after brokers lost records.
    offsets = max((Layout(setting.streaming.folder).checkpoint / "offsets").glob("[0-9]*"))
    offsets.write_text(offsets.read_text().replace('"0":40', '"0":55'))
    offsets.with_name(f".{offsets.name}.crc").unlink()
    with pytest.raises(TopicError, match="ends before the position already read"):
        setting.ingest()
    assert {loss.kind for loss in setting.topics().accept()} == {CUT}
    setting.send(40, 60)
    assert setting.ingest() == 60


def test_new_partitions_are_reported_and_read_from_their_beginning(setting: Setting) -> None:
    setting.send(0, 10)
    setting.ingest()
    made = [NewPartitions(name, 3) for name in setting.names.values()]
    for future in setting.admin.create_partitions(made).values():
        future.result()
    sink = KafkaSink(KafkaBroker(bootstrap_servers=setting.broker.bootstrap_servers), setting.names)
    for stream in STREAMS:
        keyed = ((str(n), line) for n, line in enumerate(setting.lines[stream][10:100]))
        sink.send_text(stream, keyed)
    assert setting.ingest() == 100
    told = [content for what, content in setting.told if what == "partitions"]
    assert {one["stream"] for one in told} == {*STREAMS}
    assert {tuple(one["added"]) for one in told} == {(1, 2)}
    setting.ingest()
    assert len([1 for what, _ in setting.told if what == "partitions"]) == 2


def test_a_batch_does_not_count_if_its_topic_was_recreated_meanwhile(setting: Setting) -> None:
    setting.send(0, 40)
    setting.ingest()
    topics = setting.topics()
    topics.check()
    setting.recreate()
    with pytest.raises(TopicError, match="while it was read"):
        topics.facts()


def test_the_command_reports_losses_and_status_shows_them(setting: Setting) -> None:
    setting.send(0, 40)
    setting.ingest()
    manifest = Layout(setting.streaming.folder).manifests()[-1]
    assert set(manifest["topics"]) == {*STREAMS}
    setting.recreate()
    text = setting.streaming.model_dump_json(exclude_defaults=True)
    places = [f"--set=streaming={text}", "--set=spark.master=local[2]"]
    places.append("--set=spark.jars=[jars/spark/*.jar]")
    config = ["--config", "applications/ctr/configs/ctr-stream.yaml", *places]
    assert json.loads(text)["kafka"]
    # In a process of its own: the command stops its Spark, which would be that of all tests.
    found = subprocess.run(
        [sys.executable, "-m", "streaming", "accept-loss", "--dry-run", *config],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert "an unknown number of records are lost" in " ".join(found.stdout.split())
    assert accepted_losses(setting.streaming.folder) == []


def test_streams_in_another_order_are_the_same_streams(setting: Setting) -> None:
    """Spark's checkpoint knows topics by their order, and would read one as the other."""
    setting.send(0, 20)
    assert setting.ingest() == 20
    turned = dict(reversed(setting.streaming.streams.items()))
    setting.streaming = setting.streaming.model_copy(update={"streams": turned})
    setting.send(20, 50)
    assert setting.ingest() == 50
    read = accounts(Layout(setting.streaming.folder))["read"]
    assert read == {"clicks": 50, "impressions": 50}


def test_another_stream_needs_another_folder(setting: Setting) -> None:
    setting.send(0, 20)
    assert setting.ingest() == 20
    whole = setting.streaming
    for streams in (
        {**whole.streams, "more": whole.streams["clicks"]},
        {"impressions": whole.streams["impressions"]},
    ):
        setting.streaming = whole.model_copy(update={"streams": streams})
        with pytest.raises(ComponentError, match=r"choose a new streaming\.folder|no such stream"):
            setting.ingest()
    setting.streaming = whole
    setting.send(20, 30)
    assert setting.ingest() == 30
