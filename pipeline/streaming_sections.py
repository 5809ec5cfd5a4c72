"""The section `streaming` of a config: events, their source, closing of hours, and online rules."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, PlainSerializer, PlainValidator, field_validator, model_validator

from base.secrets import names_secret, secret_in
from base.section import Section, check_keys
from pipeline.online_sections import DriftRule, OnlineRule, Served
from spark_io.sources.outcomes import Outcome

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
RESERVED_STREAMS = ("past", "closed")  # folders beside those of the streams


def outcome_of(given: Any) -> Outcome | None:
    """Returns the section `outcome` of a stream or a source.

    Raises:
      ValueError: A key is unknown or missing, or its value is no outcome's.
    """
    if given is None or isinstance(given, Outcome):
        return given
    known = [field.name for field in dataclasses.fields(Outcome)]
    if not isinstance(given, dict):
        raise ValueError("an outcome is a section: {of: STREAM, by: COLUMN, within: 30m}")
    check_keys(given, known)
    missing = [name for name in ("of", "by", "within") if name not in given]
    if missing:
        raise ValueError(f"an outcome needs {', '.join(missing)}")
    for key, value in given.items():
        if not isinstance(value, str):
            raise ValueError(f"{key}: expected a text. Received: {value!r}")
    return Outcome(**given)


def _as_section(outcome: Outcome | None) -> dict[str, str] | None:
    return None if outcome is None else dataclasses.asdict(outcome)


class EventStream(Section):
    """A stream of events, each a JSON object with an id and a time."""

    id: str = Field(description="column that identifies an event; equal ids are one event")
    time: str = Field(description="column with its time, in epoch milliseconds")
    columns: dict[str, str] = Field(min_length=1, description="column -> Spark SQL type")
    topic: str = Field("", description="topic of Kafka; by default the stream's name")
    outcome: Annotated[Outcome | None, PlainValidator(outcome_of), PlainSerializer(_as_section)] = (
        Field(
            None,
            description="{of: STREAM, by: COLUMN, within: 30m}: the events are outcomes of another "
            "stream's events, `by` their id; runs need not wait for `may_be_open`",
        )
    )

    @model_validator(mode="after")
    def _columns_there(self) -> EventStream:
        for column in (self.id, self.time, *([self.outcome.by] if self.outcome else [])):
            if column not in self.columns:
                raise ValueError(f"`columns` lacks {column}")
        if self.columns[self.time] not in ("bigint", "long"):
            raise ValueError(f"{self.time} has to be a bigint: epoch milliseconds")
        return self


class KafkaBroker(Section):
    """How to reach Kafka. Secrets are given by the name of an environment variable."""

    bootstrap_servers: str = Field(description="host:9092, or several, separated by commas")
    options: dict[str, str] = Field(
        default_factory=dict, description="options of the consumer, as kafka.KEY"
    )
    options_env: dict[str, str] = Field(
        default_factory=dict, description="option -> variable that holds its value"
    )
    producer_options: dict[str, str] = Field(
        default_factory=dict, description="options of the producer, librdkafka's"
    )
    producer_options_env: dict[str, str] = Field(
        default_factory=dict, description="option -> variable that holds its value"
    )

    @field_validator("options", "producer_options")
    @classmethod
    def _no_secrets(cls, options: dict[str, str]) -> dict[str, str]:
        for option, value in options.items():
            if names_secret(option) or secret_in(option, value):
                raise ValueError(
                    f"option '{option}' holds a secret: put its value into an environment "
                    "variable, and name that in options_env or producer_options_env"
                )
        return options


class OnlineRedis(Section):
    """The Redis of the online store. Its keys begin with the pipeline's name."""

    host: str = Field(description="host of the server; one node, not a cluster")
    port: int = Field(6379, ge=1, le=65535, description="port of the server")
    db: int = Field(0, ge=0, description="number of the database")
    tls: bool = Field(False, description="whether to use TLS")
    password_env: str | None = Field(None, description="variable that holds the password")
    timeout_s: float = Field(1.0, gt=0, description="longest wait for a connection or an answer")


class Streaming(Section):
    """Events to hourly spans; see streaming/README.md."""

    REPLACED: ClassVar[dict[str, str]] = {
        "attribution_minutes": "streams.NAME.outcome.within: {value}m"
    }

    folder: Path = Field(description="folder of all that ingest writes; local or mounted")
    kafka: KafkaBroker | None = Field(None, description="where events come from")
    watched: Path | None = Field(
        None,
        description="in place of Kafka: a folder with a folder for each stream, which get files",
    )
    streams: dict[str, EventStream] = Field(
        min_length=1, description="name -> stream; the first has the events that models predict"
    )
    allowed_lateness_minutes: float = Field(
        5, ge=0, description="minutes that an event may come after a newer one"
    )
    future_minutes: float = Field(
        10, ge=0, description="minutes ahead of the clock; a later event is rejected"
    )
    trigger_seconds: float = Field(
        10, gt=0, description="seconds from the start of a batch to the start of the next"
    )
    hour_tables: bool = Field(
        False,
        description="whether what the features of later hours need is kept of each hour",
    )
    online_seconds: float | None = Field(
        None,
        ge=0,
        description="seconds between updates of the online store, which serving reads; needs "
        "hour_tables",
    )
    online_redis: OnlineRedis | None = Field(
        None, description="the online store's Redis; by default the store is files in FOLDER/online"
    )
    feedback_key_env: str | None = Field(
        None,
        description="variable that holds the key with which clients sign the contexts of their "
        "requests; without it an event's time and arm are the server's",
    )
    served: Served | None = Field(
        None, description="what became of served events; null for no online evaluation"
    )
    online_rule: OnlineRule = Field(
        OnlineRule(), description="when a version is rolled back or promoted"
    )
    drift: DriftRule = Field(DriftRule(), description="when a feature has drifted")
    max_events_per_batch: int = Field(500_000, ge=1, description="events of each topic")
    max_files_per_batch: int = Field(20, ge=1, description="files of each watched folder")

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """Stream of outcomes -> which events they belong to."""
        return {name: one.outcome for name, one in self.streams.items() if one.outcome}

    @property
    def events(self) -> str:
        """Name of the stream whose events models predict."""
        return next(iter(self.streams))

    @property
    def lateness_ms(self) -> int:
        return round(self.allowed_lateness_minutes * 60_000)

    @field_validator("streams")
    @classmethod
    def _names(cls, streams: dict[str, EventStream]) -> dict[str, EventStream]:
        topics: dict[str, str] = {}
        for name, stream in streams.items():
            if not _NAME.fullmatch(name) or name in RESERVED_STREAMS:
                raise ValueError(
                    "expected names of a-z, 0-9 and _ that begin with a letter, other than "
                    f"{', '.join(RESERVED_STREAMS)}. Received: {name!r}"
                )
            other = topics.setdefault(stream.topic or name, name)
            if other != name:
                raise ValueError(f"{other} and {name} have the same topic; each needs its own")
            if stream.outcome is not None:
                events = [n for n, one in streams.items() if one.outcome is None]
                if stream.outcome.of not in events:
                    raise ValueError(
                        f"{name}.outcome.of: expected a stream of events: "
                        f"{', '.join(events) or 'none is there'}. Received: {stream.outcome.of}"
                    )
        if next(iter(streams.values())).outcome is not None:
            raise ValueError("the first stream has the events that models predict, not outcomes")
        return streams

    @model_validator(mode="after")
    def _one_source(self) -> Streaming:
        if (self.kafka is None) == (self.watched is None):
            raise ValueError("name either `kafka` or `watched`")
        if self.online_seconds is not None and not self.hour_tables:
            raise ValueError("online_seconds needs hour_tables: true")
        return self
