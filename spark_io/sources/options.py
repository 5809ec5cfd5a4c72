"""Which of Spark's reader options a source may set.

An option that decides which files or rows are read would make Spark read something else than what
the manifest lists, and one that decides what becomes of a bad row would hide it. Options are
therefore allowed by name, for each format; each allowed one has a test (test_source_options.py).
"""

from __future__ import annotations

from collections.abc import Mapping

_TIME_FORMATS = frozenset({"dateFormat", "timestampFormat", "timestampNTZFormat"})

# What `options` of a FileSource may hold.
FILE_OPTIONS: dict[str, frozenset[str]] = {
    "json": _TIME_FORMATS
    | {
        "allowBackslashEscapingAnyCharacter",
        "allowComments",
        "allowNonNumericNumbers",
        "allowNumericLeadingZeros",
        "allowSingleQuotes",
        "allowUnquotedControlChars",
        "allowUnquotedFieldNames",
    },
    "csv": _TIME_FORMATS
    | {
        "sep",
        "delimiter",
        "quote",
        "escape",
        "comment",
        "nullValue",
        "nanValue",
        "positiveInf",
        "negativeInf",
        "multiLine",
        "ignoreLeadingWhiteSpace",
        "ignoreTrailingWhiteSpace",
    },
    "parquet": frozenset({"datetimeRebaseMode", "int96RebaseMode"}),
    "orc": frozenset(),
    "avro": frozenset({"datetimeRebaseMode"}),
    "tfrecord": frozenset(),
}
# These are about text between separators, which the reader of multi-line records does not trim.
_NOT_MULTI_LINE = ("ignoreLeadingWhiteSpace", "ignoreTrailingWhiteSpace")
_SWITCHES = (
    "allow",
    "ignore",
    "multiLine",
)  # how the names of options begin that are true or false
# True of every file that is read: harmless, and often written.
_IMPLIED = {"csv": {"header": "true", "encoding": "utf-8", "charset": "utf-8"}}

# Spark's own JDBC options. Others are connection properties, which go to the driver as they are.
_JDBC_OPTIONS = frozenset({"driver", "fetchsize", "queryTimeout"})
_JDBC_REFUSED = frozenset(
    {
        "url",
        "dbtable",
        "query",
        "prepareQuery",
        "partitionColumn",
        "lowerBound",
        "upperBound",
        "numPartitions",
        "customSchema",
        "preferTimestampNTZ",
        "sessionInitStatement",
        "tinyInt1isBit",
        "yearIsDateType",
        "pushDownPredicate",
        "pushDownAggregate",
        "pushDownLimit",
        "pushDownOffset",
        "pushDownTableSample",
        "keytab",
        "principal",
        "refreshKrb5Config",
        "connectionProvider",
    }
)
_KAFKA_OPTIONS = frozenset(
    {
        "minPartitions",
        "groupIdPrefix",
        "kafkaConsumer.pollTimeoutMs",
        "fetchOffset.numRetries",
        "fetchOffset.retryIntervalMs",
    }
)
# Settings that have Spark skip files which it cannot read.
SKIPS_FILES = ("ignorecorruptfiles", "ignoremissingfiles")


def check_file_options(kind: str, options: Mapping[str, str]) -> None:
    """Checks `options` of a FileSource.

    Args:
      kind: Format of the files, a key of FILE_OPTIONS.
      options: Option -> value.

    Raises:
      ValueError: an option that is not allowed for the format, with those that are; or two options
        of which only one would be applied.
    """
    allowed = FILE_OPTIONS[kind]
    implied = _IMPLIED.get(kind, {})
    for option, value in options.items():
        if option in implied and value.lower() == implied[option]:
            continue
        if option not in allowed:
            have = ", ".join(sorted(allowed)) or "none"
            raise ValueError(
                f"option '{option}' is not allowed for {kind}: the options of {kind} are {have}. "
                "Types belong into `columns`, and which files are read into `path`"
            )
        if option.startswith(_SWITCHES) and value.lower() not in ("true", "false"):
            raise ValueError(f"option '{option}' is 'true' or 'false'. Received: {value!r}")
    if kind == "csv":
        _check_csv_options(options)


def _check_csv_options(options: Mapping[str, str]) -> None:
    """Raises ValueError for options of which only some would be applied."""
    if "sep" in options and "delimiter" in options:
        raise ValueError("give either `sep` or `delimiter`, not both")
    if options.get("multiLine", "false").lower() != "true":
        return
    for option in _NOT_MULTI_LINE:
        if option in options:
            raise ValueError(f"option '{option}' is not allowed together with multiLine")
    if options.get("escape", options.get("quote", '"')) != options.get("quote", '"'):
        raise ValueError(
            "with multiLine a quote within quotes is written twice; option 'escape' cannot change "
            "that. Convert the files"
        )
    for option in ("sep", "delimiter", "quote", "comment"):
        if len(options.get(option, ",").replace("\\t", "\t").replace("\\\\", "\\")) != 1:
            raise ValueError(
                f"with multiLine, `{option}` is one character. Received: {options[option]!r}"
            )


def check_jdbc_options(options: Mapping[str, str]) -> None:
    """Raises ValueError for an option of Spark's reader that a JdbcSource decides itself."""
    refused = {option.lower() for option in _JDBC_REFUSED}
    for option in options:
        if option.lower() in refused:
            raise ValueError(
                f"option '{option}' is not allowed for a database: allowed are "
                f"{', '.join(sorted(_JDBC_OPTIONS))} and the driver's connection properties. "
                "What is read is decided by `table`, `query`, `partition_column` and `partitions`"
            )


def check_kafka_options(options: Mapping[str, str]) -> None:
    """Raises ValueError for an option that is neither Kafka's own nor one that leaves the records
    that are read as they are.
    """
    for option in options:
        if option not in _KAFKA_OPTIONS and not option.startswith("kafka."):
            raise ValueError(
                f"option '{option}' is not allowed for Kafka: allowed are "
                f"{', '.join(sorted(_KAFKA_OPTIONS))} and Kafka's own, as kafka.NAME. Which "
                "records are read is decided by `start`, `end` and `span`"
            )
    level = options.get("kafka.isolation.level", "read_committed")
    if level not in ("read_committed", "read_uncommitted"):
        raise ValueError(
            f"kafka.isolation.level is read_committed or read_uncommitted. Received: {level!r}"
        )


def check_spark_settings(conf: Mapping[str, str]) -> None:
    """Raises ValueError for a setting that has Spark skip files which it cannot read."""
    for key, value in conf.items():
        if key.lower().rpartition(".")[2] in SKIPS_FILES and value.lower() != "false":
            raise ValueError(
                f"{key} would have Spark skip files that it cannot read, and lose their rows; "
                "repair or remove such files"
            )
