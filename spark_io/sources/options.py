"""Lists the options of Spark's readers that a source may set.

An option that selects files or rows would make Spark read other data than the manifest lists, and
one that handles bad rows would hide them. So options are allowed by name for each format, and each
allowed one has a test (test_source_options.py).
"""

from __future__ import annotations

from collections.abc import Mapping

_TIME_FORMATS = frozenset({"dateFormat", "timestampFormat", "timestampNTZFormat"})

# The options of a FileSource by format.
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
# The reader of multi-line records does not trim fields.
_NOT_MULTI_LINE = ("ignoreLeadingWhiteSpace", "ignoreTrailingWhiteSpace")
_SWITCHES = ("allow", "ignore", "multiLine")  # prefixes of options that are true or false
# Options that hold for every file anyway. They are harmless, and users often write them.
_IMPLIED = {"csv": {"header": "true", "encoding": "utf-8", "charset": "utf-8"}}

# Spark's own JDBC options. Others are connection properties, which the driver gets unchanged.
_JDBC_OPTIONS = frozenset({"driver", "fetchsize", "queryTimeout"})
_JDBC_FORBIDDEN = frozenset(
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
# Settings that make Spark skip files that it cannot read.
SKIPS_FILES = ("ignorecorruptfiles", "ignoremissingfiles")


def check_file_options(kind: str, options: Mapping[str, str]) -> None:
    """Checks `options` of a FileSource.

    Args:
      kind: Format of the files, a key of FILE_OPTIONS.
      options: Option -> value.

    Raises:
      ValueError: An option is not allowed for the format, or only one of two options would apply.
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
                "Types belong in `columns`, and the choice of files in `path`"
            )
        if option.startswith(_SWITCHES) and value.lower() not in ("true", "false"):
            raise ValueError(f"option '{option}' must be 'true' or 'false'. Received: {value!r}")
    if kind == "csv":
        _check_csv_options(options)


def _check_csv_options(options: Mapping[str, str]) -> None:
    """Raises ValueError for options that exclude each other."""
    if "sep" in options and "delimiter" in options:
        raise ValueError("give either `sep` or `delimiter`, not both")
    if options.get("multiLine", "false").lower() != "true":
        return
    for option in _NOT_MULTI_LINE:
        if option in options:
            raise ValueError(f"option '{option}' is not allowed together with multiLine")
    if options.get("escape", options.get("quote", '"')) != options.get("quote", '"'):
        raise ValueError(
            "with multiLine a quote within quotes must be written twice, so option 'escape' is not "
            "allowed; convert the files"
        )
    for option in ("sep", "delimiter", "quote", "comment"):
        if len(options.get(option, ",").replace("\\t", "\t").replace("\\\\", "\\")) != 1:
            raise ValueError(
                f"with multiLine, `{option}` must be one character. Received: {options[option]!r}"
            )


def check_jdbc_options(options: Mapping[str, str]) -> None:
    """Raises ValueError for an option of Spark's reader that a JdbcSource sets itself."""
    forbidden = {option.lower() for option in _JDBC_FORBIDDEN}
    for option in options:
        if option.lower() in forbidden:
            raise ValueError(
                f"option '{option}' is not allowed for a database: allowed are "
                f"{', '.join(sorted(_JDBC_OPTIONS))} and the driver's connection properties. "
                "What is read is decided by `table`, `query`, `partition_column` and `partitions`"
            )


def check_kafka_options(options: Mapping[str, str]) -> None:
    """Raises ValueError for an option that could change which records are read."""
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
            f"kafka.isolation.level must be read_committed or read_uncommitted. Received: {level!r}"
        )


def check_spark_settings(conf: Mapping[str, str]) -> None:
    """Raises ValueError for a setting that makes Spark skip files that it cannot read."""
    for key, value in conf.items():
        if key.lower().rpartition(".")[2] in SKIPS_FILES and value.lower() != "false":
            raise ValueError(
                f"{key} would make Spark skip unreadable files and lose their rows; remove the "
                "setting, and repair or remove such files"
            )
