"""What a SparkExampleGen reads, as data: it travels as JSON from the pipeline to the Spark job.

No secret is ever in here: a password is read, where it is used, from the environment variable whose
*name* a source gives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

from base.secrets import names_secret, secret_in
from spark_io.sources.column_names import KAFKA_COLUMNS, reserved_in, same_but_for_case
from spark_io.sources.options import (
    check_file_options,
    check_jdbc_options,
    check_kafka_options,
    check_spark_settings,
)
from spark_io.sources.spans import SpanPattern

FILE_FORMATS = ("json", "csv", "parquet", "orc", "avro", "tfrecord")
UNTYPED_FORMATS = ("json", "csv", "tfrecord")  # their columns' types are nowhere to be found
SPAN_TYPES = ("timestamp", "date", "s", "ms", "us")  # how a span's begin and end are written


@dataclasses.dataclass(frozen=True)
class Source:
    """What every kind of source has, beside `columns`.

    `columns` (column -> Spark SQL type) is required where the data does not say (json, csv,
    tfrecord, Kafka); elsewhere it is optional, is checked, and selects columns. A column that is
    null in every row counts as missing, and is an error, unless it is one of `may_be_null`.

    Attributes:
      may_be_null: columns that may be null in every row, such as the time of an outcome.
      options: Spark's reader options, as strings. Not for secrets.
      spans_after: spans behind the window to read as well: events that follow the last span's rows,
        such as outcomes. Not for the primary source.
      missing_spans: 'error' or 'allow': whether a hole in the window, or a span missing behind it,
        is accepted.
    """

    kind: ClassVar[str]
    options: Mapping[str, str] = dataclasses.field(default_factory=dict, kw_only=True)
    spans_after: int = dataclasses.field(default=0, kw_only=True)
    missing_spans: str = dataclasses.field(default="error", kw_only=True)
    may_be_null: Sequence[str] = dataclasses.field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if self.missing_spans not in ("error", "allow"):
            raise ValueError("missing_spans is 'error' or 'allow'")
        if self.spans_after < 0:
            raise ValueError("spans_after is a number of spans, 0 or more")
        for option, value in self.options.items():
            if names_secret(option) or secret_in(option, value):
                raise ValueError(
                    f"option '{option}' holds a secret: put its value into an environment variable "
                    "and name that (options_env, password_env)"
                )


@dataclasses.dataclass(frozen=True)
class FileSource(Source):
    """Files, under the component's `input_base` or at a URI of their own.

    Attributes:
      format: json (one object a line), csv (with a header), parquet, orc, avro, or tfrecord (of
        tf.train.Examples, gzipped or not).
      path: glob relative to `input_base`, or a URI such as `s3a://bucket/logs/*.json`; may hold
        {SPAN}, {VERSION}, {YYYY}, {MM}, {DD}, {HH}.
      folder_columns: columns that are in the names of folders, as Hive writes them: ['country'] for
        `country=DE/*.parquet`. Each becomes a column of strings.
      spans_before: in place of the window, so many spans before it: what was kept of the past.
        Those that are there: a log begins somewhere. Not for the primary source; needs `columns`.
    """

    kind: ClassVar[str] = "file"
    format: str
    path: str
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    spans_before: int = dataclasses.field(default=0, kw_only=True)
    folder_columns: Sequence[str] = dataclasses.field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_names([*self.columns, *self.folder_columns])
        if self.folder_columns and self.format == "tfrecord":
            raise ValueError("tfrecord has no folder_columns; add the column in the ETL")
        if both := set(self.columns) & set(self.folder_columns):
            raise ValueError(f"column '{min(both)}' is in `columns` and in `folder_columns`")
        if self.format not in FILE_FORMATS:
            raise ValueError(f"format '{self.format}' is none of {', '.join(FILE_FORMATS)}")
        if self.format in UNTYPED_FORMATS and not self.columns:
            raise ValueError(f"a {self.format} source needs `columns`: name -> Spark SQL type")
        if not self.path or self.path.startswith("/") or ".." in self.path.split("/"):
            raise ValueError(
                f"path '{self.path}' must be relative to input_base, without '..', or a URI"
            )
        if secret_in("path", self.path):
            raise ValueError("no keys in the path; S3A reads them from the environment")
        check_file_options(self.format, self.options)
        if self.spans_before < 0:
            raise ValueError("spans_before is a number of spans, 0 or more")
        if self.spans_before and (self.spans_after or not self.columns or not self.has_spans):
            raise ValueError(
                "spans_before needs `columns` and a path with spans, and goes without spans_after"
            )

    def place(self, input_base: str) -> tuple[str, str]:
        """(folder or URI, pattern relative to it)."""
        if "://" not in self.path:
            return input_base.rstrip("/"), self.path
        scheme, _, rest = self.path.partition("://")
        fixed, *pattern = rest.split("/")
        while len(pattern) > 1 and not set("*?{[") & set(pattern[0]):
            fixed = f"{fixed}/{pattern.pop(0)}"
        return f"{scheme}://{fixed}", "/".join(pattern)

    @property
    def has_spans(self) -> bool:
        return SpanPattern(self.path).has_spans

    def is_local(self, input_base: str) -> bool:
        return "://" not in self.place(input_base)[0]


@dataclasses.dataclass(frozen=True)
class QuerySource(Source):
    """What a database and Spark's own tables have in common.

    Attributes:
      table: read whole, or a window of it by `span_column`.
      query: in place of `table`; may hold :span_begin and :span_end: the first moment of the
        window, and the first one behind it.
      span: 'day' or 'hour' for rows that come in spans; without it every run reads all of them.
      span_column: of `table`: the column that holds a row's time.
      span_type: how times are written: timestamp, date, or a whole number of s, ms or us since
        1970.
      newest: of `query`: a query for the newest time there is, in the same type; without it a run
        has to be told its span. The newest span is the last one that something newer follows.
      fingerprint: what stands for the contents in the cache key. 'contents': a checksum of all rows
        (they are read for it); a query: its answer; 'never': every run reads anew.
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
            raise ValueError(f"span_type '{self.span_type}' is none of {', '.join(SPAN_TYPES)}")
        if self.span == "hour" and self.span_type == "date":
            raise ValueError("a date says no hour: span 'hour' needs a span_type with a time")
        bound = ":span_begin" in self.query and ":span_end" in self.query
        if self.span and self.table and not self.span_column:
            raise ValueError("a table with spans needs `span_column`")
        if self.span and self.query and not bound:
            raise ValueError("a query with spans must use :span_begin and :span_end")
        if not self.span and (self.span_column or ":span_" in self.query):
            raise ValueError("`span` is missing: 'day' or 'hour'")

    @property
    def has_spans(self) -> bool:
        return bool(self.span)


@dataclasses.dataclass(frozen=True)
class JdbcSource(QuerySource):
    """A table or query of MySQL, MariaDB, PostgreSQL or another database with a JDBC driver.

    Attributes:
      url: `jdbc:mysql://host:3306/shop`, `jdbc:postgresql://host:5432/shop`; without a password.
      user: of the database.
      password_env: name of the environment variable that holds the password.
      partition_column: number, date or timestamp by whose values the reading is divided.
      partitions: number of parts, read at the same time.
      options_env: option -> name of the environment variable that holds its value.
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
            raise ValueError("url starts with jdbc:, such as jdbc:mysql://host:3306/shop")
        if secret_in("url", self.url):
            raise ValueError("no password in the url: name its environment variable: password_env")
        check_jdbc_options(self.options)
        if self.partitions < 1:
            raise ValueError("partitions is 1 or more")
        if self.partitions > 1 and not self.partition_column:
            raise ValueError("`partitions` needs a `partition_column` to divide by")

    def secrets(self) -> dict[str, str]:
        """Option -> name of the environment variable with its value."""
        password = {"password": self.password_env} if self.password_env else {}
        return {**password, **self.options_env}


@dataclasses.dataclass(frozen=True)
class TableSource(QuerySource):
    """A table, view or query of Spark's own catalog (Hive, Iceberg, Delta: by Spark's settings)."""

    kind: ClassVar[str] = "table"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.options:
            raise ValueError("a table takes no options; Spark's settings are SparkConfig's conf")


@dataclasses.dataclass(frozen=True)
class KafkaSource(Source):
    """The records of a Kafka topic between offsets, each value a JSON object.

    The ETL also gets the columns kafka_partition, kafka_offset and kafka_timestamp.

    Attributes:
      bootstrap_servers: `host:9092`, several with commas.
      topic: one topic.
      columns: of the JSON objects, column -> Spark SQL type.
      start: 'earliest', or partition -> first offset.
      end: 'latest', or partition -> the first offset that is not read.
      span: 'day' or 'hour': the records whose Kafka timestamp lies in the window, in place of
        `start` and `end`. The newest span is the last one that something newer follows.
      options: Spark's, and Kafka's own with the prefix `kafka.`.
      options_env: option -> name of the environment variable that holds its value.
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
            raise ValueError("start is 'earliest', or partition -> offset")
        if self.end != "latest" and isinstance(self.end, str):
            raise ValueError("end is 'latest', or partition -> offset")
        if self.span and (self.start, self.end) != ("earliest", "latest"):
            raise ValueError("`span` decides the offsets; leave out `start` and `end`")

    @property
    def has_spans(self) -> bool:
        return bool(self.span)

    def secrets(self) -> dict[str, str]:
        return dict(self.options_env)


def _check_names(columns: Collection[str], also_reserved: Sequence[str] = ()) -> None:
    if taken := reserved_in(columns, also_reserved):
        raise ValueError(taken)
    if twice := same_but_for_case(columns):
        raise ValueError(f"`columns`: {twice}")


def _check_span(span: str) -> None:
    if span not in ("", "day", "hour"):
        raise ValueError(f"span '{span}' is none of day, hour")


AnySource = FileSource | JdbcSource | TableSource | KafkaSource
KINDS: dict[str, type[AnySource]] = {
    kind.kind: kind for kind in (FileSource, JdbcSource, TableSource, KafkaSource)
}


@dataclasses.dataclass(frozen=True)
class SparkConfig:
    """Where Spark runs.

    Attributes:
      master: Spark's master URL.
      conf: Spark's own configuration, key -> value. Not for secrets.
      jars: connectors, as globs of local files: `make jars` puts ours into jars/spark/.
    """

    master: str = "local[*]"
    conf: Mapping[str, str] = dataclasses.field(default_factory=dict)
    jars: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_spark_settings(self.conf)
        for key, value in self.conf.items():
            if names_secret(key) or secret_in(key, value):
                raise ValueError(
                    f"{key}: no secret in the configuration, which is stored. S3A reads "
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY from the environment; others "
                    "belong into spark-defaults.conf (SPARK_CONF_DIR) of the machine"
                )


def sources_to_json(sources: Mapping[str, AnySource]) -> list[dict[str, Any]]:
    """A list, because the order says which source is primary: the first one."""
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
