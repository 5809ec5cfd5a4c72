"""The section `streaming` of a config: what events look like, where they come from, when an hour is
closed, and what is done about what the hours say.
"""

from __future__ import annotations

import math
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from base.secrets import names_secret, secret_in
from base.section import Section


class EventStream(Section):
    """A stream of events, each a JSON object with an id and a time."""

    id: str = Field(description="column; events with the same one are the same event")
    time: str = Field(description="column: when it happened, in epoch milliseconds")
    columns: dict[str, str] = Field(min_length=1, description="column -> Spark SQL type")
    topic: str = Field("", description="of Kafka; default: the stream's name")

    @model_validator(mode="after")
    def _columns_there(self) -> EventStream:
        for column in (self.id, self.time):
            if column not in self.columns:
                raise ValueError(f"`columns` lacks {column}")
        if self.columns[self.time] not in ("bigint", "long"):
            raise ValueError(f"{self.time} has to be a bigint: epoch milliseconds")
        return self


class Clicks(EventStream):
    """The events that belong to impressions."""

    of: str = Field(description="column: id of the impression that was clicked")


class KafkaBroker(Section):
    """Secrets by the name of an environment variable, never as such."""

    bootstrap_servers: str = Field(description="`host:9092`, several with commas")
    options: dict[str, str] = Field(default_factory=dict, description="kafka.KEY, for the client")
    options_env: dict[str, str] = Field(
        default_factory=dict, description="option -> variable that holds its value"
    )
    producer_options: dict[str, str] = Field(
        default_factory=dict, description="librdkafka's, for what we publish"
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


class OnlineRule(Section):
    """When a version is rolled back, or a canary promoted; see streaming/online_evaluation."""

    hours: int = Field(24, ge=1, description="closed hours to look at")
    min_impressions: int = Field(1000, ge=1, description="before anything is decided")
    calibration: tuple[float, float] = Field((0.7, 1.4), description="bounds, predicted / clicked")
    max_log_loss_increase: float = Field(
        0.05, ge=0, description="against the version before it, as a share"
    )
    patience_hours: int = Field(
        6, ge=1, description="of a canary; then it is judged by the values, be they certain or not"
    )


class DriftRule(Section):
    """When a feature has drifted; see streaming/online_evaluation."""

    max_distance: float = Field(
        0.2,
        gt=0,
        le=1,
        description="Jensen-Shannon divergence, for features without comparators in the schema",
    )
    leave_out: tuple[str, ...] = Field(
        (), description="features that are new by nature: keys, times"
    )
    most_examples: int = Field(
        20_000, ge=100, description="of an hour's served examples, chosen at random"
    )


class Streaming(Section):
    """Events to hourly spans; see streaming/README.md."""

    folder: Path = Field(description="for everything that ingest writes; local or mounted")
    kafka: KafkaBroker | None = None
    watched: Path | None = Field(
        None, description="instead of Kafka: files appear in its impressions/ and clicks/"
    )
    impressions: EventStream
    clicks: Clicks
    attribution_minutes: float = Field(30, gt=0, description="a later click counts for nothing")
    allowed_lateness_minutes: float = Field(
        5, ge=0, description="how much later than a newer one an event may come"
    )
    future_minutes: float = Field(10, ge=0, description="what is further ahead of us is refused")
    trigger_seconds: float = Field(10, gt=0, description="from the start of a batch to the next")
    hour_tables: bool = Field(
        False,
        description="keep of each hour what later ones need: the application's hour_tables.py",
    )
    online_seconds: float | None = Field(
        None,
        ge=0,
        description="so often the table in FOLDER/online, which serving looks into, is brought up "
        "to date; needs hour_tables",
    )
    feedback_key_env: str | None = Field(
        None,
        description="variable with the key by which ranking services sign what they showed; "
        "without it, time and arm are the server's, and nobody's propensities are believed",
    )
    online_rule: OnlineRule = OnlineRule()
    drift: DriftRule = DriftRule()
    max_events_per_batch: int = Field(500_000, ge=1, description="of each topic")
    max_files_per_batch: int = Field(20, ge=1, description="of each watched folder")

    @property
    def attribution_ms(self) -> int:
        return round(self.attribution_minutes * 60_000)

    def click_hours(self, hour: int) -> range:
        """The hours of clicks on an hour's impressions."""
        return range(hour, hour + math.ceil(self.attribution_minutes / 60) + 1)

    @property
    def lateness_ms(self) -> int:
        return round(self.allowed_lateness_minutes * 60_000)

    @model_validator(mode="after")
    def _one_source(self) -> Streaming:
        if (self.kafka is None) == (self.watched is None):
            raise ValueError("name either `kafka` or `watched`")
        if self.online_seconds is not None and not self.hour_tables:
            raise ValueError("online_seconds needs hour_tables: true")
        return self
