"""CSV with a header, to columns by their names."""

from __future__ import annotations

import csv
from collections.abc import Mapping

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from components.errors import ComponentError
from components.spark_example_gen.connectors.found import missing_column
from components.spark_example_gen.connectors.hadoop import HadoopFiles
from components.spark_example_gen.connectors.lines import (
    CORRUPT,
    NOT_UTF8,
    UNPARSEABLE,
    judged,
    read_lines,
)
from components.spark_example_gen.rows import LINE, REASON, RECORD, quoted
from components.spark_example_gen.sources import FileSource

_END = "end"
_ESCAPED_SEPARATORS = {"\\t": "\t", "\\\\": "\\"}


def read_csv(
    spark: SparkSession, name: str, source: FileSource, files: HadoopFiles, paths: list[str]
) -> DataFrame:
    """See lines.py. Lines that equal a file's first line are headers.

    Raises:
      ComponentError: what `csv_header` raises.
    """
    first_lines = {path: files.first_line(path) for path in paths}
    header = csv_header(name, source, first_lines)
    # Spark takes CSV columns by position: the schema follows the header of the files.
    types = {column: source.columns.get(column, "string") for column in header}
    uris = [files.uri(path) for path in paths]
    if source.options.get("multiLine", "false").lower() == "true":
        return _read_records(spark, source, types, uris)
    lines = read_lines(spark, uris).where(~F.col(LINE).isin(sorted(set(first_lines.values()))))
    if comment := source.options.get("comment"):
        lines = lines.where(~F.col(LINE).startswith(comment))
    return _parse_lines(lines, source, types)


def _parse_lines(lines: DataFrame, source: FileSource, types: Mapping[str, str]) -> DataFrame:
    """A field is put behind each line, and must come out: an open quote would swallow it, where
    Spark would end the value at the end of the line, unseen.
    """
    parsed = F.from_csv(
        F.concat(F.col(LINE), F.lit(separator(source) + _END)),
        f"{_schema(types)}, `{_END}{_END}` string, {CORRUPT} string",
        _settings(source),
    )
    rows = lines.withColumn("_parsed", parsed)
    whole = F.col(f"_parsed.`{_END}{_END}`").eqNullSafe(_END)
    reason = F.when(F.col(f"_parsed.{CORRUPT}").isNotNull() | ~whole, UNPARSEABLE)
    columns = [F.col(f"_parsed.{quoted(column)}").alias(column) for column in source.columns]
    return judged(columns, reason, [], rows)


def _read_records(
    spark: SparkSession, source: FileSource, types: Mapping[str, str], uris: list[str]
) -> DataFrame:
    """With line breaks inside of quotes (the option multiLine): each file is read by one task."""
    reader = spark.read.schema(f"{_schema(types)}, {CORRUPT} string")
    frame = reader.options(**_settings(source), header="true").format("csv").load(uris)
    columns = [F.col(quoted(column)) for column in source.columns]
    texts = [F.col(quoted(column)) for column, kind in types.items() if kind == "string"]
    unreadable = F.lit(False)
    for text in texts:
        unreadable |= F.coalesce(text.contains("\ufffd"), F.lit(False))
    reason = F.when(F.col(CORRUPT).isNotNull(), UNPARSEABLE).when(unreadable, NOT_UTF8)
    frame = frame.withColumn(REASON, reason)
    record = F.coalesce(
        F.col(CORRUPT), F.to_json(F.struct(*columns), {"ignoreNullFields": "false"})
    )
    frame = frame.withColumn(RECORD, F.when(F.col(REASON).isNotNull(), record))
    return frame.select(*columns, REASON, RECORD)


def _schema(types: Mapping[str, str]) -> str:
    return ", ".join(f"{quoted(column)} {kind}" for column, kind in types.items())


def _settings(source: FileSource) -> dict[str, str]:
    """The user's options; those that decide what becomes of a bad row are ours."""
    ours = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": CORRUPT}
    return {"escape": '"', **source.options, **ours}


def separator(source: FileSource) -> str:
    given = source.options.get("sep", source.options.get("delimiter", ","))
    return _ESCAPED_SEPARATORS.get(given, given)


def csv_header(name: str, source: FileSource, first_lines: Mapping[str, str]) -> list[str]:
    """The columns of the files, which must be the same in all of them.

    Args:
      name: of the source.
      source: its options may name the separator.
      first_lines: path -> first line that is not blank.

    Raises:
      ComponentError: a declared column is missing, two have one name, or a file has other columns
        than the first one.
    """
    between = separator(source)
    present = {path: _fields(line, between) for path, line in first_lines.items() if line}
    if not present:
        raise ComponentError(f"source '{name}' is empty: its files hold no row")
    first, header = next(iter(present.items()))
    for path, other in present.items():
        if other != header:
            raise ComponentError(
                f"source '{name}': {path} has the columns {', '.join(other)}, but {first} has "
                f"{', '.join(header)}; bring them into one form"
            )
    if len(set(header)) < len(header):
        twice = next(column for column in header if header.count(column) > 1)
        raise ComponentError(f"source '{name}': {first} has two columns named '{twice}'")
    for column in source.columns:
        if column not in header:
            raise missing_column(name, column, header)
    return header


def _fields(line: str, between: str) -> list[str]:
    if len(between) == 1:
        return next(csv.reader([line], delimiter=between))
    return [field.strip('"') for field in line.split(between)]
