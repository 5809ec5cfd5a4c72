"""Sinks for events: the topics or the watched folder that ingest reads."""

from __future__ import annotations

import gzip
import json
import logging
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Producer

from base.atomic_files import write_bytes
from base.errors import ComponentError
from pipeline.streaming_sections import KafkaBroker, Streaming

_DELIVERY_TIMEOUT_S = 30
_MAX_BYTES = 900_000  # per event; librdkafka's message.max.bytes is 1,000,000 with headers


RejectedEvent = tuple[Mapping[str, Any], str]  # an event and the reason


class Sink(Protocol):
    """Receives the events of the streams."""

    def send(self, stream: str, events: Iterable[Mapping[str, Any]]) -> list[RejectedEvent]:
        """Sends events, and returns once they are stored durably for ingest.

        Returns:
          The events that can never be accepted, each with the reason.
        """


def sink_of(settings: Streaming) -> Sink:
    """Returns the sink for the config's Kafka or its watched folder."""
    if settings.kafka is None:
        assert settings.watched is not None
        return FolderSink(settings.watched)
    streams = settings.streams.items()
    topics = {name: stream.topic or name for name, stream in streams}
    return KafkaSink(settings.kafka, topics, {name: stream.id for name, stream in streams})


class FolderSink:
    """Writes one file per call.

    Args:
      folder: Watched folder.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def send(self, stream: str, events: Iterable[Mapping[str, Any]]) -> list[RejectedEvent]:
        lines = [json.dumps(event) for event in events]
        if not lines:
            return []
        packed = gzip.compress("".join(f"{line}\n" for line in lines).encode(), 1)
        write_bytes(self._folder / stream / f"{uuid.uuid4().hex}.json.gz", packed, durable=True)
        return []


class KafkaSink:
    """Sends events to Kafka with an idempotent producer, so that retries write nothing twice.

    Args:
      broker: Address and options; `producer_options` are librdkafka's.
      topics: Stream -> topic.
      ids: Stream -> column with an event's id, the key of its record: all copies of an event are in
        one partition. The records of other streams have no key.
    """

    def __init__(
        self, broker: KafkaBroker, topics: Mapping[str, str], ids: Mapping[str, str] | None = None
    ):
        secret = {}
        for option, variable in broker.producer_options_env.items():
            if variable not in os.environ:
                raise ComponentError(
                    f"streaming.kafka: the environment variable {variable} (for {option}) is not "
                    "set; export it"
                )
            secret[option] = os.environ[variable]
        self._servers, self._topics = broker.bootstrap_servers, topics
        self._ids = ids or {}
        self._failed: str | None = None
        self._too_large: list[bytes] = []
        self._producer = Producer(
            {
                "bootstrap.servers": broker.bootstrap_servers,
                "enable.idempotence": True,
                "linger.ms": 20,
                "delivery.timeout.ms": _DELIVERY_TIMEOUT_S * 1000,
                **broker.producer_options,
                **secret,
            },
            logger=_quiet(),
        )

    def send(self, stream: str, events: Iterable[Mapping[str, Any]]) -> list[RejectedEvent]:
        """Sends events.

        Raises:
          ComponentError: The broker has not confirmed an event that it could accept.
        """
        rejected: list[RejectedEvent] = []

        def keyed() -> Iterator[tuple[str | None, bytes]]:
            for event in events:
                key = _text(event.get(self._ids.get(stream, "")))
                value = json.dumps(event).encode()
                if len(value) + len((key or "").encode()) > _MAX_BYTES:
                    rejected.append(
                        (event, f"it has {len(value):,} bytes, but Kafka accepts {_MAX_BYTES:,}")
                    )
                else:
                    yield key, value

        self._send(stream, keyed())
        # An event that the broker or librdkafka finds too large stays too large: no retry helps.
        too_large = [json.loads(value) for value in self._too_large]
        rejected += [(event, "it is too large for the topic") for event in too_large]
        return rejected

    def send_text(self, stream: str, records: Iterable[tuple[str, bytes]]) -> None:
        """Sends raw (key, value) records; a record that is too large is an error."""
        self._send(stream, records)
        if self._too_large:
            raise ComponentError(
                f"Kafka at {self._servers}: {len(self._too_large):,} events are too large for "
                f"topic {self._topics[stream]}; raise its max.message.bytes"
            )

    def _send(self, stream: str, records: Iterable[tuple[str | None, bytes]]) -> None:
        self._failed, self._too_large = None, []
        for key, value in records:
            self._produce(self._topics[stream], key, value)
        left = self._producer.flush(_DELIVERY_TIMEOUT_S + 5)
        if left or self._failed:
            raise ComponentError(
                f"Kafka at {self._servers} has not confirmed all events "
                f"({self._failed or 'no answer'}); they will be sent again"
            )

    def _produce(self, topic: str, key: str | None, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(topic, value=value, key=key, on_delivery=self._delivered)
                self._producer.poll(0)
                return
            except KafkaException as error:
                if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                    raise ComponentError(
                        f"Kafka at {self._servers}: {error.args[0].str()}"
                    ) from None
                self._too_large.append(value)
                return
            except BufferError:  # its queue is full
                self._producer.poll(1)

    def _delivered(self, error: Any, message: Any) -> None:
        if error is None:
            return
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            self._too_large.append(message.value())
        else:
            self._failed = error.str()


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _quiet() -> Any:
    """Returns a silent logger: errors are raised, and librdkafka would repeat them for ever."""
    logger = logging.getLogger("streaming.feedback.kafka")
    logger.setLevel(logging.CRITICAL)
    return logger
