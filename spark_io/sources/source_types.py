"""Declares the sources of a SparkExampleGen, which travel as JSON to the Spark job.

A source never holds a secret. It names an environment variable, which is read when it is used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

from base.durations import HOUR_MS
from base.secrets import names_secret, secret_in
from spark_io.sources.column_names import KAFKA_COLUMNS, reserved_in, same_but_for_case
from spark_io.sources.options import (
    check_file_options,
    check_jdbc_options,
    check_kafka_options,
    check_spark_settings,
)
from spark_io.sources.source import Source
from spark_io.sources.spans import Around, SpanPattern

FILE_FORMATS = ("json", "csv", "parquet", "orc", "avro", "tfrecord")
UNTYPED_FORMATS = ("json", "csv", "tfrecord")  # the data does not tell the types of columns
_PERIODS_MS = {"hour": HOUR_MS, "day": 24 * HOUR_MS}
SPAN_TYPES = ("timestamp", "date", "s", "ms", "us")  # types of the column that holds a row's time


@dataclasses.dataclass(frozen=True)
class FileSource(Source):
    """Files under the component's `input_base` or at a URI of their own.

    Attributes:
      format: Format of the files: json (one object per line), csv (with a header), parquet, orc,
        avro, or tfrecord (of tf.train.Examples, gzipped or not).
      path: Glob relative to `input_base`, or a URI such as `s3a://bucket/logs/*.json`. May contain
        {SPAN}, {VERSION}, {YYYY}, {MM}, {DD} and {HH}.
      columns: Column -> Spark SQL type. Required for json, csv and tfrecord, which have no types.
        Elsewhere it is checked, and selects columns.
      folder_columns: Columns in the names of folders, as Hive writes them: ['country'] for
        `country=DE/*.parquet`. Each becomes a column of strings.
      spans_before: Number of spans before the window to read as well; not for the primary source.
        Spans before the oldest one are not missing, since the source begins there.
      index: Path of the index that the writer keeps (span_index.py), in the form of `path`. Then no
        missing file is taken for an empty span. Needs `columns`, and days or hours in `path`.
    """

    kind: ClassVar[str] = "file"
    format: str
    path: str
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    spans_before: int = dataclasses.field(default=0, kw_only=True)
    index: str = dataclasses.field(default="", kw_only=True)
    folder_columns: Sequence[str] = dataclasses.field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_names([*self.columns, *self.folder_columns])
        if self.folder_columns and self.format == "tfrecord":
            raise ValueError("tfrecord has no folder_columns; add the column in the ETL")
        if both := set(self.columns) & set(self.folder_columns):
            raise ValueError(f"column '{min(both)}' is in `columns` and in `folder_columns`")
        if self.format not in FILE_FORMATS:
            raise ValueError(
                f"format must be one of {', '.join(FILE_FORMATS)}. Received: {self.format!r}"
            )
        if self.format in UNTYPED_FORMATS and not self.columns:
            raise ValueError(f"a {self.format} source needs `columns`: name -> Spark SQL type")
        for name, path in (("path", self.path), ("index", self.index or "-")):
            if not path or path.startswith("/") or ".." in path.split("/"):
                raise ValueError(
                    f"{name} '{path}' must be relative to input_base, without '..', or a URI"
                )
        if secret_in("path", self.path):
            raise ValueError(
                "the path holds a secret; remove it, S3A reads keys from the environment"
            )
        check_file_options(self.format, self.options)
        if self.spans_before < 0:
            raise ValueError(f"spans_before must be 0 or more. Received: {self.spans_before}")
        if self.spans_before and not self.has_spans:
            raise ValueError("spans_before needs a path with spans")
        if self.index and (self.period_ms is None or not self.columns):
            raise ValueError("index needs `columns`, and a path with days or hours")

    def place(self, input_base: str) -> tuple[str, str]:
        """Returns the folder or URI, and the pattern relative to it."""
        return _place(self.path, input_base)

    def index_place(self, input_base: str) -> tuple[str, str]:
        """Returns the folder or URI of the index, and its path relative to it."""
        return _place(self.index, input_base)

    @property
    def has_spans(self) -> bool:
        return SpanPattern(self.path).has_spans

    @property
    def period_ms(self) -> int | None:
        return SpanPattern(self.path).period_ms

    @property
    def around(self) -> Around:
        return dataclasses.replace(super().around, before=self.spans_before)

    def is_local(self, input_base: str) -> bool:
        return "://" not in self.place(input_base)[0]


@dataclasses.dataclass(frozen=True)
class QuerySource(Source):
    """The base of databases and of Spark's own tables.

    Attributes:
      table: Table to read, whole or a window by `span_column`.
      query: Query in place of `table`. May contain :span_begin, the start of the window, and
        :span_end, its end (exclusive).
      columns: Column -> Spark SQL type; optional. It is checked, and selects columns.
      span: 'day' or 'hour' for rows with spans; without it every run reads all rows.
      span_column: Column of `table` that holds a row's time.
      span_type: Type of the times: timestamp, date, or s, ms or us for whole numbers since 1970.
      newest: Query for the newest time, in the same type, for a source with `query`. Without it
        every run must name its span. The newest span is the last one with newer rows after it.
      fingerprint: Stand-in for the contents in the cache key. 'contents' is a checksum of all rows,
        which are read for it. A query stands for its result. With 'never' every run reads again.
    """

    table: str = ""
    query: str = ""
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict, kw_only=True)
    span: str = dataclasses.field(default="", kw_only=True)
    span_column: str = dataclasses.field(default="", kw_only=True)
    span_type: str = dataclasses.field(default="timestamp", kw_only=True)
    newest: str = dataclasses.field(default="", kw_only=True)
    fingerprint: str = dataclasses.field(default="contents", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_names(self.columns)
        if bool(self.table) == bool(self.query):
            raise ValueError("give either `table` or `query`")
        _check_span(self.span)
        if self.span_type not in SPAN_TYPES:
            raise ValueError(
                f"span_type must be one of {', '.join(SPAN_TYPES)}. Received: {self.span_type!r}"
            )
        if self.span == "hour" and self.span_type == "date":
            raise ValueError("span 'hour' needs a span_type with a time. Received: 'date'")
        bound = ":span_begin" in self.query and ":span_end" in self.query
        if self.span and self.table and not self.span_column:
            raise ValueError("a table with spans needs `span_column`")
        if self.span and self.query and not bound:
            raise ValueError("a query with spans must use :span_begin and :span_end")
        if not self.span and (self.span_column or ":span_" in self.query):
            raise ValueError("`span` is missing; set it to 'day' or 'hour'")

    @property
    def has_spans(self) -> bool:
        return bool(self.span)

    @property
    def period_ms(self) -> int | None:
        return _PERIODS_MS.get(self.span)


@dataclasses.dataclass(frozen=True)
class JdbcSource(QuerySource):
    """A table or query of MySQL, MariaDB, PostgreSQL or another database with a JDBC driver.

    Attributes:
      url: URL such as `jdbc:postgresql://host:5432/shop`, without a password.
      user: User of the database.
      password_env: Name of the environment variable that holds the password.
      partition_column: Column (number, date or timestamp) whose range divides the rows into parts.
      partitions: Number of parts to read in parallel.
      options_env: Option -> name of the environment variable that holds its value.
    """

    kind: ClassVar[str] = "jdbc"
    url: str = dataclasses.field(default="", kw_only=True)
    user: str = dataclasses.field(default="", kw_only=True)
    password_env: str = dataclasses.field(default="", kw_only=True)
    partition_column: str = dataclasses.field(default="", kw_only=True)
    partitions: int = dataclasses.field(default=1, kw_only=True)
    options_env: Mapping[str, str] = dataclasses.field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.url.startswith("jdbc:"):
            raise ValueError("url must start with jdbc:, as in jdbc:mysql://host:3306/shop")
        if secret_in("url", self.url):
            raise ValueError(
                "the url holds a password; name its environment variable in password_env"
            )
        check_jdbc_options(self.options)
        if self.partitions < 1:
            raise ValueError(f"partitions must be 1 or more. Received: {self.partitions}")
        if self.partitions > 1 and not self.partition_column:
            raise ValueError("`partitions` needs a `partition_column` to divide by")

    def secrets(self) -> dict[str, str]:
        """Returns secret options, as option -> name of the environment variable."""
        password = {"password": self.password_env} if self.password_env else {}
        return {**password, **self.options_env}


@dataclasses.dataclass(frozen=True)
class TableSource(QuerySource):
    """A table, view or query of Spark's own catalog (Hive, Iceberg, Delta: by Spark's settings)."""

    kind: ClassVar[str] = "table"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.options:
            raise ValueError("a table takes no options; put Spark's settings in SparkConfig.conf")


@dataclasses.dataclass(frozen=True)
class KafkaSource(Source):
    """The records of a Kafka topic between offsets, each value a JSON object.

    The ETL also gets the columns kafka_partition, kafka_offset and kafka_timestamp.

    Attributes:
      bootstrap_servers: Comma-separated addresses such as `host:9092`.
      topic: Name of the topic.
      columns: Column of the JSON objects -> Spark SQL type.
      start: 'earliest', or partition -> first offset.
      end: 'latest', or partition -> end offset (exclusive).
      span: 'day' or 'hour' to read the records whose Kafka timestamp is in the window, instead of
        `start` and `end`. The newest span is the last one with newer records after it.
      options: Options of Spark's reader, and of Kafka with the prefix `kafka.`.
      options_env: Option -> name of the environment variable that holds its value.
    """

    kind: ClassVar[str] = "kafka"
    bootstrap_servers: str
    topic: str
    columns: Mapping[str, str]
    start: str | Mapping[str, int] = dataclasses.field(default="earliest", kw_only=True)
    end: str | Mapping[str, int] = dataclasses.field(default="latest", kw_only=True)
    span: str = dataclasses.field(default="", kw_only=True)
    options_env: Mapping[str, str] = dataclasses.field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.columns:
            raise ValueError("a Kafka source needs `columns`: name -> Spark SQL type")
        check_kafka_options(self.options)
        _check_names(self.columns, KAFKA_COLUMNS)
        _check_span(self.span)
        if self.start != "earliest" and isinstance(self.start, str):
            raise ValueError("start must be 'earliest' or a map of partition -> offset")
        if self.end != "latest" and isinstance(self.end, str):
            raise ValueError("end must be 'latest' or a map of partition -> offset")
        if self.span and (self.start, self.end) != ("earliest", "latest"):
            raise ValueError("`span` decides the offsets; leave out `start` and `end`")

    @property
    def has_spans(self) -> bool:
        return bool(self.span)

    @property
    def period_ms(self) -> int | None:
        return _PERIODS_MS.get(self.span)

    def secrets(self) -> dict[str, str]:
        return dict(self.options_env)


def _place(path: str, input_base: str) -> tuple[str, str]:
    if "://" not in path:
        return input_base.rstrip("/"), path
    scheme, _, rest = path.partition("://")
    fixed, *pattern = rest.split("/")
    while len(pattern) > 1 and not set("*?{[") & set(pattern[0]):
        fixed = f"{fixed}/{pattern.pop(0)}"
    return f"{scheme}://{fixed}", "/".join(pattern)


def _check_names(columns: Collection[str], also_reserved: Sequence[str] = ()) -> None:
    if taken := reserved_in(columns, also_reserved):
        raise ValueError(taken)
    if twice := same_but_for_case(columns):
        raise ValueError(f"`columns`: {twice}")


def _check_span(span: str) -> None:
    if span not in ("", "day", "hour"):
        raise ValueError(f"span must be 'day' or 'hour'. Received: {span!r}")


AnySource = FileSource | JdbcSource | TableSource | KafkaSource
KINDS: dict[str, type[AnySource]] = {
    kind.kind: kind for kind in (FileSource, JdbcSource, TableSource, KafkaSource)
}


@dataclasses.dataclass(frozen=True)
class SparkConfig:
    """The configuration of Spark.

    Attributes:
      master: Spark's master URL.
      conf: Spark's settings, key -> value. Not for secrets.
      jars: Globs of local connector jars; `make jars` downloads ours to jars/spark/.
    """

    master: str = "local[*]"
    conf: Mapping[str, str] = dataclasses.field(default_factory=dict)
    jars: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_spark_settings(self.conf)
        for key, value in self.conf.items():
            if names_secret(key) or secret_in(key, value):
                raise ValueError(
                    f"{key} holds a secret, and the configuration is stored; remove it. S3A reads "
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY from the environment. Other "
                    "secrets belong in spark-defaults.conf (SPARK_CONF_DIR) of the machine"
                )


def sources_to_json(sources: Mapping[str, AnySource]) -> list[dict[str, Any]]:
    """Returns the sources as a list, because the first one is primary."""
    return [
        {"name": name, "kind": source.kind, **dataclasses.asdict(source)}
        for name, source in sources.items()
    ]


def sources_from_json(entries: list[dict[str, Any]]) -> dict[str, AnySource]:
    return {
        entry["name"]: KINDS[entry["kind"]](
            **{k: v for k, v in entry.items() if k not in ("name", "kind")}
        )
        for entry in entries
    }
