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
from pipeline.streaming_sections import outcome_of
from spark_io.examples.time_cut import TimeCut
from spark_io.sources.source_types import KINDS, AnySource, FileSource, SparkConfig
from tabular.decision_rule import DecisionRule


def _source(fields: Any) -> AnySource:
    """Returns a source, where `kind` (default: file) names its class and other keys its fields."""
    if not isinstance(fields, dict):
        raise ValueError("a source is a section with keys such as format and path")
    kind = fields.get("kind", FileSource.kind)
    if kind not in KINDS:
        raise ValueError(f"kind '{kind}' is none of {', '.join(KINDS)}")
    rest = {key: value for key, value in fields.items() if key != "kind"}
    check_keys(rest, ["kind", *(field.name for field in dataclasses.fields(KINDS[kind]))])
    if "outcome" in rest:
        rest["outcome"] = outcome_of(rest["outcome"])
    return TypeAdapter(KINDS[kind]).validate_python(rest)


# One of the classes of spark_io.sources.source_types, which say what each key means.
Source = Annotated[AnySource, PlainValidator(_source)]


class Truth(Section):
    """True probabilities, which only the run's summary uses, for the best reachable AUC."""

    files: str = Field(description="glob of Parquet files, below data_root")
    key: str = Field(description="their column, and a feature, that names an example")
    probability: str = Field("probability", description="their column with the true probability")


class Spans(Section):
    """The spans that a run reads."""

    window: int = Field(1, ge=1, description="number of spans")
    last: int | None = Field(
        None, ge=0, description="number of the last span; null for the newest that there is"
    )


class Cut(Section):
    """Splits by time; see spark_io/examples/time_cut.py."""

    column: str = Field(description="column of the examples with the time")
    at: str | list[str] = Field(
        description="where eval begins: 2024-03-02T18:00, or -6h for the last 6 hours of the "
        "window; with two cuts, such as [-12h, -6h], there is a third split, test"
    )
    unit: Literal["s", "ms", "us"] = Field("us", description="unit of a column of numbers")

    @model_validator(mode="after")
    def _usable(self) -> Cut:
        self.time_cut()
        return self

    def time_cut(self) -> TimeCut:
        return TimeCut(self.column, self.at, self.unit)


class Split(Section):
    """How examples are divided, by hash buckets or by time.

    The Trainer learns from train and stops early by eval. The Evaluator judges on test if there is
    such a split, else on eval.
    """

    time: Cut | None = Field(None, description="splits by time, in place of hash buckets")
    feature: str | None = Field(
        None, description="feature whose rows with one value stay together; null: the whole record"
    )
    buckets: dict[str, int] = Field(
        default_factory=lambda: {"train": 2, "eval": 1}, description="split -> hash buckets"
    )

    @field_validator("buckets")
    @classmethod
    def _train_and_eval(cls, buckets: dict[str, int]) -> dict[str, int]:
        if not {"train", "eval"} <= set(buckets) or min(buckets.values()) < 1:
            raise ValueError("needs 'train' and 'eval', each with 1 or more buckets")
        return buckets

    @property
    def judged(self) -> str:
        """Name of the split that the Evaluator judges on."""
        names = self.time.time_cut().splits if self.time else self.buckets
        return "test" if "test" in names else "eval"


class Etl(Section):
    """The ETL: what Spark makes of the sources."""

    function: str | None = Field(
        None, description="dotted path of another ETL than the application's build_examples"
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="parameters of the ETL; the application checks them"
    )
    row_accounting: Literal["exact", "off"] = Field(
        "exact",
        description="exact: the run fails unless rows read = examples + quarantined + dropped; "
        "off: for an ETL that aggregates rows",
    )
    max_quarantine_fraction: float = Field(
        0.01, ge=0, le=1, description="the run stops if more rows of a source are rejected"
    )


class Spark(Section):
    """Master, settings and connectors of a Spark session."""

    master: str = Field("local[*]", description="local[N], yarn, spark://... or k8s://...")
    conf: dict[str, str] = Field(default_factory=dict, description="Spark's own settings")
    jars: list[str] = Field(
        default_factory=list, description="globs of connectors' jars; see `make jars`"
    )

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
    width: int = Field(16, ge=1, description="length of a vector")
    window: int = Field(5, ge=1, description="values on either side that count as neighbours")
    min_count: int = Field(5, ge=1, description="rarer values get no vector")
    iterations: int = Field(5, ge=1, description="passes over the sequences")


class Range(Section):
    """Values between two bounds, for a search; whole numbers if both bounds are."""

    min: int | float = Field(description="smallest value")
    max: int | float = Field(description="largest value")
    log: bool = Field(False, description="whether values are drawn by their logarithm")

    @model_validator(mode="after")
    def _ascending(self) -> Range:
        if self.min >= self.max or (self.log and self.min <= 0):
            raise ValueError(
                "min must be below max, and above 0 with log. Received: "
                f"min {self.min}, max {self.max}"
            )
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

    trials: int = Field(10, ge=1, description="number of trainings")
    parameters: dict[str, SearchSpace] = Field(
        min_length=1,
        description="name in trainer.parameters -> a list of choices, or {min, max, log}",
    )


class Trainer(Section):
    """How the model is trained."""

    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="parameters of run_fn; by default those of tabular/parameters.py",
    )
    decision: DecisionRule | None = Field(
        None,
        description="of a binary task, the threshold from which people review an example: "
        "{budget: SHARE}, {threshold: PROBABILITY} or {costs: {review, missed}}; null for none",
    )
    warm_start: bool = Field(
        False,
        description="whether training begins with the latest blessed model of an earlier span; not "
        "on Kubeflow",
    )
    baseline: bool = Field(
        False,
        description="whether gradient-boosted trees (scikit-learn's, untuned) learn from the same "
        "examples, and their metrics are reported beside the model's. They are not served and "
        "decide nothing; on a small table they say what the network must reach",
    )
    workers: int = Field(
        1, ge=1, description="processes that train, on Spark if several: components/spark_trainer"
    )
    trusted_network: bool = Field(
        False,
        description="with workers > 1 TensorFlow listens on every address without authentication, "
        "and whoever reaches a worker's port can run code there. true says that nobody else does",
    )
    spark: Spark = Field(
        Spark(master="local-cluster[2,1,2048]"), description="where several workers run"
    )

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
    """Settings of runs that read one new span each (spans.window: 1), but not on Kubeflow.

    Transform still covers the last spans, by its analyzer cache. See components/span_window.
    """

    window: int = Field(24, ge=1, description="spans that vocabularies and scales are made of")
    refresh: int = Field(
        6, ge=1, description="spans after which they are made again; the runs between share them"
    )


class Statistics(Section):
    """The share of the examples that StatisticsGen reads.

    A sample is enough for distributions, vocabularies and drift, but it may miss a value that is
    wrong in few examples. The ETL checks every row in any case.
    """

    sample_rate: float | None = Field(
        None, gt=0, le=1, description="share of each split, at random; null for all examples"
    )


class RequestLog(Section):
    """Where the server writes what it predicted; see serving/README.md."""

    folder: Path = Field(Path("data/requests"), description="folder of the log")
    rate: float = Field(1.0, ge=0, le=1, description="share of the requests that are logged")
    keys: tuple[str, ...] = Field(
        (), description="raw features whose values are logged as plain text, such as ids"
    )


class InfraValidator(Section):
    """The standard InfraValidator, which runs TensorFlow Serving in a pod.

    It is for local_runner.py within a cluster or with a kubeconfig. TFX does not compile it for
    Kubeflow Pipelines v2.
    """

    tags: list[str] = Field(
        ["latest"], min_length=1, description="tags of TensorFlow Serving's image"
    )


class Canary(Section):
    """Requests to a server with a candidate, and the bounds on its answers: ModelCanary."""

    infra_validator: InfraValidator | None = Field(
        None,
        description="the standard InfraValidator in place of our own server; of the keys below it "
        "takes `candidates` only",
    )

    requests: int = Field(20, ge=1, description="number of requests")
    candidates: int = Field(100, ge=1, description="examples in a request")
    max_ms: float = Field(500, gt=0, description="largest 99th percentile of the latency, in ms")
    tolerance: float = Field(
        1e-5,
        gt=0,
        description="largest difference of a score from the training graph's; beyond 1, a share",
    )


class Serving(Section):
    """How a blessed model becomes what is served; see components/pusher and serving/."""

    canary: Canary | None = Field(
        Canary(), description="a server is asked with the candidate; null for no such step"
    )

    release: Literal["immediate", "canary", "canary_in_turn"] = Field(
        "immediate",
        description="immediate: a pushed version is stable at once; canary: a canary at first; "
        "canary_in_turn: a canary only when there is no other",
    )
    canary_percent: float = Field(
        10,
        ge=0,
        le=100,
        description="percentage of the units, such as values of a key, that get a canary",
    )
    keep_versions: int = Field(
        5, ge=1, description="newest versions that stay on disk, besides those that are live"
    )
    servers: list[str] = Field(
        [],
        description="host:port of gRPC of the model servers that read models.config; a label moves "
        "to a version only when all of them have loaded it. A name stands for all its addresses: a "
        "headless Service of Kubernetes names each pod",
    )
    follow_seconds: float = Field(
        2.5,
        gt=0,
        description="seconds until each model server has read a new models.config; more where they "
        "poll less often than once a second, or a network file system shows it late",
    )
    load_seconds: float = Field(
        120,
        gt=0,
        description="seconds until a server must have loaded a version, or the release stops",
    )
    request_log: RequestLog | None = Field(
        None, description="what the server logs of its requests; null for nothing"
    )
    tls_ca: str = Field(
        "",
        description="PEM file of the servers' certificate authority; empty for no TLS",
    )
    tls_name: str = Field(
        "", description="name in the servers' certificates, if it is not their address"
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
        """Returns the servers that a release waits for."""
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

    kind: Literal["sqlite", "mysql"] = Field(
        "sqlite", description="database; mysql for MariaDB as well"
    )
    path: str | None = Field(None, description="SQLite file; by default in the run folder")
    host: str = Field("127.0.0.1", description="host of the database server")
    port: int = Field(3306, ge=1, le=65535, description="port of the database server")
    database: str = Field("mlmd", description="name of the database")
    user: str = Field("mlmd", description="user of the database")
    password_env: str = Field("MLMD_PASSWORD", description="variable that holds the password")
