"""The sections of a config, as pydantic models: what each key means, and its default."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PlainValidator,
    TypeAdapter,
    field_validator,
    model_validator,
)

from base.section import Section, check_keys
from components.pusher.rollout import Followers
from spark_io.examples.time_cut import TimeCut
from spark_io.sources.source_types import KINDS, AnySource, FileSource, SparkConfig


def _source(fields: Any) -> AnySource:
    """`kind` (default: file) names the class, the other keys are its fields."""
    if not isinstance(fields, dict):
        raise ValueError("a source is a section with keys such as format and path")
    kind = fields.get("kind", FileSource.kind)
    if kind not in KINDS:
        raise ValueError(f"kind '{kind}' is none of {', '.join(KINDS)}")
    rest = {key: value for key, value in fields.items() if key != "kind"}
    check_keys(rest, ["kind", *(field.name for field in dataclasses.fields(KINDS[kind]))])
    return TypeAdapter(KINDS[kind]).validate_python(rest)


# One of the classes of spark_io.sources.source_types, which say what each key means.
Source = Annotated[AnySource, PlainValidator(_source)]


class Truth(Section):
    """True probabilities: only the run's summary looks at them, for the best reachable AUC."""

    files: str = Field(description="glob below data_root, of Parquet files")
    key: str = Field(description="their column, and a feature, that names an example")
    probability: str = Field("probability", description="their column with the true probability")


class Spans(Section):
    """Which spans a run reads: `window` of them, up to `last` (the newest when left out)."""

    window: int = Field(1, ge=1)
    last: int | None = Field(None, ge=0)


class Cut(Section):
    """See components.spark_example_gen.TimeCut."""

    column: str
    at: str | list[str] = Field(
        description="2024-03-02T18:00, or -6h for the last 6 hours of the window; with two, such "
        "as [-12h, -6h], there is a third split, test"
    )
    unit: Literal["s", "ms", "us"] = "us"

    @model_validator(mode="after")
    def _usable(self) -> Cut:
        self.time_cut()
        return self

    def time_cut(self) -> TimeCut:
        return TimeCut(self.column, self.at, self.unit)


class Split(Section):
    """Hash buckets by split, where rows with the same `feature` stay together; or `time`: train
    before a cut, eval from it on.

    The Trainer learns from train and stops by eval. The Evaluator judges on test, where there is
    such a split, else on eval.
    """

    time: Cut | None = None
    feature: str | None = None
    buckets: dict[str, int] = Field(default_factory=lambda: {"train": 2, "eval": 1})

    @field_validator("buckets")
    @classmethod
    def _train_and_eval(cls, buckets: dict[str, int]) -> dict[str, int]:
        if not {"train", "eval"} <= set(buckets) or min(buckets.values()) < 1:
            raise ValueError("needs 'train' and 'eval', each with 1 or more buckets")
        return buckets

    @property
    def judged(self) -> str:
        """The split that the Evaluator judges on."""
        names = self.time.time_cut().splits if self.time else self.buckets
        return "test" if "test" in names else "eval"


class Etl(Section):
    """`function` defaults to build_examples in the application's etl.py, whose `parameters` are
    EtlParameters in its parameters.py.
    """

    function: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    row_accounting: Literal["exact", "off"] = "exact"
    max_quarantine_fraction: float = Field(0.01, ge=0, le=1)


class Spark(Section):
    """Where the ETL runs."""

    master: str = "local[*]"
    conf: dict[str, str] = Field(default_factory=dict)
    jars: list[str] = Field(default_factory=list, description="globs; see `make jars`")

    @model_validator(mode="after")
    def _usable(self) -> Spark:
        self.spark_config()
        return self

    def spark_config(self) -> SparkConfig:
        return SparkConfig(self.master, self.conf, tuple(self.jars))


class Embeddings(Section):
    """Vectors for a feature's values, by Word2Vec in Spark; see components/spark_embeddings."""

    token: str = Field(description="raw categorical feature whose values get vectors")
    group: str = Field(description="raw feature that is equal within a sequence")
    order: str = Field(description="raw feature that orders a sequence")
    where: str | None = Field(None, description="raw feature that is 1 in the rows that count")
    width: int = Field(16, ge=1)
    window: int = Field(5, ge=1)
    min_count: int = Field(5, ge=1)
    iterations: int = Field(5, ge=1)


class Range(Section):
    """Values from `min` to `max`; whole numbers when both are; `log`: by their order of size."""

    min: int | float
    max: int | float
    log: bool = False

    @model_validator(mode="after")
    def _ascending(self) -> Range:
        if self.min >= self.max or (self.log and self.min <= 0):
            raise ValueError("min is below max, and above 0 for log")
        return self


def _search_space(given: Any) -> Any:
    """Reads a mapping as a Range, so that its mistakes are not reported as those of a list."""
    if isinstance(given, dict):
        return Range.model_validate(given)
    if not isinstance(given, list | Range):
        raise ValueError("expected a list of choices, or {min, max, log}")
    return given


SearchSpace = Annotated[list[str | bool | int | float] | Range, BeforeValidator(_search_space)]


class Tuner(Section):
    """A search by keras-tuner before the training; the best trial's values train the model."""

    trials: int = Field(10, ge=1)
    parameters: dict[str, SearchSpace] = Field(
        min_length=1, description="of trainer.parameters: name -> choices, or {min, max, log}"
    )


class Trainer(Section):
    """`parameters` are the application's own: TrainerParameters in its parameters.py."""

    parameters: dict[str, Any] = Field(default_factory=dict)
    warm_start: bool = Field(
        False,
        description="begin with the latest blessed model of an earlier span; not on Kubeflow",
    )
    workers: int = Field(1, ge=1, description="more than one: see components/spark_trainer")
    trusted_network: bool = Field(
        False,
        description="workers > 1 have TensorFlow listen on every address, without authentication: "
        "whoever reaches a worker's port can run code there. true: nobody else reaches them",
    )
    spark: Spark = Spark(master="local-cluster[2,1,2048]")

    @model_validator(mode="after")
    def _nobody_else(self) -> Trainer:
        if self.workers > 1 and not self.trusted_network:
            raise ValueError(
                "workers > 1 opens ports of TensorFlow on every address of each worker, without "
                "authentication: whoever reaches one can run code. Where a firewall or a network "
                "policy keeps others out, say so: trainer.trusted_network: true"
            )
        return self


class Incremental(Section):
    """For runs that read one new span each (spans.window: 1): Transform sees the last spans all the
    same, from what it kept of them. Not on Kubeflow. See components/span_window.
    """

    window: int = Field(24, ge=1, description="spans that vocabularies and scales are made of")
    refresh: int = Field(
        6, ge=1, description="spans after which they are made anew; the runs between share them"
    )


class Statistics(Section):
    """What StatisticsGen looks at: all examples, or a random share of each split.

    A share is enough for distributions, vocabularies and drift; a value that is wrong in a few
    examples may escape it. The ETL checks every row in any case.
    """

    sample_rate: float | None = Field(None, gt=0, le=1, description="share of the examples")


class RequestLog(Section):
    """Where the server writes what it predicted; see serving/README.md."""

    folder: Path = Path("data/requests")
    rate: float = Field(1.0, ge=0, le=1, description="share of the requests")
    user: str = Field(description="raw feature that names the user")
    item: str = Field(description="raw feature that names a candidate")


class InfraValidator(Section):
    """The standard InfraValidator: TensorFlow Serving in a pod. For local_runner.py within a
    cluster, or with a kubeconfig; TFX does not compile it for Kubeflow Pipelines v2.
    """

    tags: list[str] = Field(["latest"], min_length=1, description="of TensorFlow Serving's image")


class Canary(Section):
    """See components/model_canary."""

    infra_validator: InfraValidator | None = Field(
        None, description="instead of our own server; of the keys below it takes `candidates` only"
    )

    requests: int = Field(20, ge=1)
    candidates: int = Field(100, ge=1, description="examples a request")
    max_ms: float = Field(500, gt=0, description="99th percentile of the latency")
    tolerance: float = Field(1e-5, gt=0, description="of a score, against the training graph's")


class Serving(Section):
    """How a blessed model becomes what is served; see components/pusher and serving/."""

    canary: Canary | None = Field(
        Canary(), description="asks a server with the candidate; null: no such step"
    )

    release: Literal["immediate", "canary", "canary_in_turn"] = Field(
        "immediate",
        description="a pushed version is for all at once, or a canary at first; in turn: only when "
        "there is no other one",
    )
    canary_percent: float = Field(
        10, ge=0, le=100, description="share of the users who get the canary, where there is one"
    )
    keep_versions: int = Field(5, ge=1, description="so many stay, and those that are live")
    servers: list[str] = Field(
        [],
        description="host:port of gRPC of the model servers that read models.config; a label moves "
        "to a version only when all of them have loaded it. A name stands for all its addresses: a "
        "headless Service of Kubernetes names each pod",
    )
    follow_seconds: float = Field(
        2.5,
        gt=0,
        description="within so many seconds each model server has read a new models.config; more "
        "where they poll less often than once a second, or a network file system shows it late",
    )
    load_seconds: float = Field(
        120, gt=0, description="a server that has not loaded a version by then stops the release"
    )
    request_log: RequestLog | None = None

    tls_ca: str = Field(
        "", description="PEM file of who signed the servers' certificates; empty: no TLS"
    )
    tls_name: str = Field(
        "", description="the name in the servers' certificates, where it is not their address"
    )
    token_env: str = Field("", description="variable that holds the servers' bearer token")

    @field_validator("servers")
    @classmethod
    def _have_ports(cls, servers: list[str]) -> list[str]:
        for server in servers:
            host, _, port = server.rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65536:
                raise ValueError(f"expected host:port, such as localhost:8500. Received: {server}")
        return servers

    def followers(self) -> Followers:
        """Returns whom a release waits for."""
        return Followers(
            tuple(self.servers),
            self.follow_seconds,
            self.load_seconds,
            tls_ca=self.tls_ca,
            tls_name=self.tls_name,
            token_env=self.token_env,
        )


class Metadata(Section):
    """Where ML Metadata lives. The password is read from the variable named `password_env`."""

    kind: Literal["sqlite", "mysql"] = "sqlite"
    path: str | None = Field(None, description="of the SQLite file; default: in the run folder")
    host: str = "127.0.0.1"
    port: int = Field(3306, ge=1, le=65535)
    database: str = "mlmd"
    user: str = "mlmd"
    password_env: str = "MLMD_PASSWORD"  # noqa: S105 - the name of a variable, not its value
