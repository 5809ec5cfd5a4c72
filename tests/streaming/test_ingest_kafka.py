"""Ingest from a real broker, which goes away and comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from base.errors import ComponentError
from dev_services.kafka import Kafka, create_topics, kafka
from pipeline.streaming_sections import KafkaBroker, Streaming
from streaming.accounts import accounts
from streaming.feedback.sinks import KafkaSink
from streaming.ingest import ingest
from streaming.layout import Layout
from tests.streaming import event_log as log
from tests.streaming.event_log import STREAMS, lines_of, settings

pytestmark = pytest.mark.integration
PARTITIONS = 3
# Short timeouts, so that a missing broker is noticed within seconds.
IMPATIENT = {"kafka.default.api.timeout.ms": "4000", "kafka.request.timeout.ms": "3000"}


def of_broker(broker: Kafka, folder: Path, **changes: Any) -> Streaming:
    servers = {"bootstrap_servers": broker.bootstrap_servers, "options": IMPATIENT}
    return settings(folder, kafka=servers, **changes)


def send(broker: Kafka, stream: str, lines: list[bytes]) -> None:
    """Publishes raw lines on all partitions."""
    sink = KafkaSink(
        KafkaBroker(bootstrap_servers=broker.bootstrap_servers), {name: name for name in STREAMS}
    )
    sink.send_text(stream, ((str(n % PARTITIONS), line) for n, line in enumerate(lines)))


def until(what: str, true: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def test_a_broker_that_restarts_and_records_that_repeat(
    spark, tmp_path: Path, dirty_log: Path
) -> None:
    data = tmp_path / "kafka"
    data.mkdir()
    told: list[tuple[str, dict[str, Any]]] = []
    problems: list[BaseException] = []
    stopping = threading.Event()
    lines = {stream: lines_of(dirty_log / stream) for stream in STREAMS}
    halves = {stream: len(found) // 2 for stream, found in lines.items()}

    def in_the_background(streaming: Streaming) -> None:
        try:
            ingest(spark, streaming, lambda *what: told.append(what), stopping=stopping)
        except BaseException as error:
            problems.append(error)

    with kafka(data) as broker:
        streaming = of_broker(broker, tmp_path / "out", max_events_per_batch=3000)
        create_topics(broker.bootstrap_servers, STREAMS, PARTITIONS)
        for stream in STREAMS:
            send(broker, stream, lines[stream][: halves[stream]])
        running = threading.Thread(target=in_the_background, args=(streaming,))
        running.start()
        layout = Layout(streaming.folder)
        wanted = sum(halves.values())
        until("half is read", lambda: _read(layout) == wanted or bool(problems))
    try:
        until("it is noticed", lambda: any(w == "away" for w, _ in told) or bool(problems))
        with kafka(data) as broker:
            for stream in STREAMS:
                send(broker, stream, lines[stream][halves[stream] :])
            wanted = sum(map(len, lines.values()))
            until("all is read", lambda: _read(layout) == wanted or bool(problems))
            stopping.set()
            running.join()
            assert problems == []
            ingest(spark, streaming, lambda *what: None, finish=True)
            found = log.assert_every_event_is_there(layout, dirty_log)
            assert all(found.values()), found
            offsets = _offsets(layout)
            assert {p: [0, len(lines[p.split("-")[0]])] for p in offsets}.keys() == offsets.keys()
            assert sum(last + 1 for _, last in offsets.values()) == wanted

            # A replay of the topics into an empty folder gives the same rows.
            again = of_broker(broker, tmp_path / "again")
            ingest(spark, again, lambda *what: None, finish=True)
            log.assert_every_event_is_there(Layout(again.folder), dirty_log)
    finally:
        stopping.set()
        running.join()


def _read(layout: Layout) -> int:
    return sum(accounts(layout)["read"].values())


def _offsets(layout: Layout) -> dict[str, list[int]]:
    """Returns partition -> first and last offset, after checking that batches leave no gap."""
    found: dict[str, list[int]] = {}
    for manifest in layout.manifests():
        for place, (first, last) in manifest["offsets"].items():
            assert first == found.get(place, [0, -1])[1] + 1
            found[place] = [0, last]
    return found


def test_no_broker_is_one_line(spark, tmp_path: Path) -> None:
    nowhere = of_broker(Kafka(port=1), tmp_path / "out")
    with pytest.raises(ComponentError, match="no Kafka broker answers at 127"):
        ingest(spark, nowhere, lambda *what: None)


def test_no_topic_is_one_line(spark, tmp_path: Path, kafka_service: Kafka) -> None:
    streaming = of_broker(kafka_service, tmp_path / "out")
    shown = streaming.streams["impressions"].model_copy(update={"topic": "nobody-writes-here"})
    streams = {**streaming.streams, "impressions": shown}
    options = {**IMPATIENT, "kafka.allow.auto.create.topics": "false"}
    assert streaming.kafka is not None
    broker = streaming.kafka.model_copy(update={"options": options})
    streaming = streaming.model_copy(update={"streams": streams, "kafka": broker})
    with pytest.raises(ComponentError, match="there is no topic nobody-writes-here at"):
        ingest(spark, streaming, lambda *what: None)


def test_events_that_no_broker_confirms_are_an_error() -> None:
    broker = KafkaBroker(
        bootstrap_servers="127.0.0.1:1", producer_options={"delivery.timeout.ms": "1500"}
    )
    sink = KafkaSink(broker, {"clicks": "clicks"})
    with pytest.raises(ComponentError, match="has not confirmed all events"):
        sink.send("clicks", [{"click_id": "c1"}])
