"""Reads CSV files with a header into columns by name.

A record is one line, or several with the option multiLine (multi_line_csv.py). text_values.py
converts the fields, because Spark's own CSV reader is lenient.
"""

from __future__ import annotations

import csv
import re
import sys
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from pyspark.sql import Column, DataFrame, DataFrameReader
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import DataType, StructType

from base.errors import ComponentError
from spark_io.connectors import text_values
from spark_io.connectors.connector import missing_column
from spark_io.connectors.json_lines import declared
from spark_io.connectors.lines import CORRUPT, PARSED, UNPARSEABLE, read_lines, with_reasons
from spark_io.connectors.multi_line_csv import FIELDS, Dialect, read_records
from spark_io.sources.column_names import LINE, REASON, quoted
from spark_io.sources.source_types import FileSource

_END = "end"
_ESCAPED_SEPARATORS = {"\\t": "\t", "\\\\": "\\"}
_PARALLEL_READS = 16  # each is a round trip or two to HDFS or S3


class Files(Protocol):
    """The methods of LocalFiles and HadoopFiles that are used here."""

    def first_line(self, path: str, comment: str = "") -> str: ...


def read_csv(
    reader: DataFrameReader, name: str, source: FileSource, files: Files, paths: Mapping[str, str]
) -> DataFrame:
    """Returns the columns that lines.py describes; records that equal a header are left out.

    Args:
      reader: Spark's reader, as for `read_lines`.
      name: Name of the source.
      source: Declaration of the source.
      files: Reader of the files' first lines.
      paths: Relative path -> path as Spark takes it.

    Raises:
      ComponentError: The header is wrong (see `csv_header`), or a declared type has no text form.
    """
    first_lines = _first_lines(files, list(paths), source.options.get("comment", ""))
    header = csv_header(name, source, first_lines)
    if source.options.get("multiLine", "false").lower() == "true":
        rows = read_records(
            reader, list(paths.values()), header, _dialect(source), source.folder_columns
        )
        # An empty field is null, as in Spark.
        fields = F.transform(F.col(FIELDS), lambda field: F.when(field != "", field))
        reason = F.col(REASON)
    else:
        lines = read_lines(reader, list(paths.values()), source.folder_columns)
        without_marks = F.regexp_replace(
            F.col(LINE), "^\ufeff+", ""
        )  # concatenated files have several
        lines = lines.where(~without_marks.isin(sorted(set(first_lines.values()))))
        if comment := source.options.get("comment"):
            lines = lines.where(~F.col(LINE).startswith(comment))
        rows, fields, reason = _parsed(lines, source, len(header))
    return _converted(rows, name, source, header, fields, reason)


def _parsed(lines: DataFrame, source: FileSource, width: int) -> tuple[DataFrame, Column, Column]:
    """Returns the lines, their fields (an array of strings) and why a line cannot be read.

    A marker field is added to the end of each line. An open quote swallows the marker, where Spark
    alone would end the value at the end of the line without a sign.
    """
    text = F.concat(F.col(LINE), F.lit(separator(source) + _END))
    # Numbered, because Spark takes CSV columns by position and names may differ only in case.
    names = [f"c{number}" for number in range(width)]
    schema = ", ".join(f"{c} string" for c in (*names, _END)) + f", {quoted(CORRUPT)} string"
    rows = lines.withColumn(PARSED, F.from_csv(text, schema, _settings(source)))
    whole = F.col(f"{PARSED}.{_END}").eqNullSafe(_END)
    corrupt = F.col(f"{PARSED}.{quoted(CORRUPT)}").isNotNull()
    fields = F.expr(f"array({', '.join(f'{PARSED}.{column}' for column in names)})")
    # A value that begins with a quote has that quote escaped in the line. If the line has no
    # escaped quote, text follows a closing quote, and Spark took the quotes as part of the value.
    quote, escape = _quotes(source)
    opened = F.exists(fields, lambda field: F.coalesce(field.startswith(quote), F.lit(False)))
    loose = opened & ~F.col(LINE).contains(quote + escape + quote) if quote else F.lit(False)
    return rows, fields, F.when(corrupt | ~whole | loose, UNPARSEABLE)


def _converted(
    rows: DataFrame,
    name: str,
    source: FileSource,
    header: list[str],
    fields: Column,
    reason: Column,
) -> DataFrame:
    """Converts fields (text, null where empty) to the declared columns, with REASON and RECORD.

    All columns of a type are converted as one array, because Spark would take minutes to plan an
    expression for each of thousands of columns.
    """
    if null_value := source.options.get("nullValue"):
        whole = fields
        fields = F.transform(whole, lambda field: F.when(field != null_value, field))
    rows = rows.withColumn(FIELDS, fields)
    places = {column: number for number, column in enumerate(header)}
    columns: dict[str, str] = {}
    unfit, arrays = [], {}
    for number, (kind, names) in enumerate(_by_type(declared(rows, source.columns)).items()):
        texts, values = f"_texts{number}", f"_values{number}"
        those = ", ".join(f"{FIELDS}[{places[column]}]" for column in names)
        arrays[texts] = F.expr(f"array({those})")
        converted = text_values.all_from_text(F.col(texts), kind, source.options)
        if converted is None:
            raise ComponentError(
                f"source '{name}': column '{names[0]}' is {kind.simpleString()}, which has no "
                f"form in CSV; use one of {text_values.SCALARS}"
            )
        arrays[values] = converted
        unfit.append(text_values.some_unfit(F.col(texts), F.col(values)))
        columns |= {column: f"{values}[{place}]" for place, column in enumerate(names)}
    for array, content in arrays.items():
        rows = rows.withColumn(array, content)
    reason = F.when(reason.isNotNull(), reason).when(text_values.any_of(unfit), UNPARSEABLE)
    chosen = [F.expr(f"{columns[column]} AS {quoted(column)}") for column in source.columns]
    return with_reasons(chosen, reason, [F.col(quoted(c)) for c in source.folder_columns], rows)


def _by_type(schema: StructType) -> dict[DataType, list[str]]:
    """Returns the columns of each type."""
    found: dict[DataType, list[str]] = {}
    for field in schema.fields:
        found.setdefault(field.dataType, []).append(field.name)
    return found


def _first_lines(files: Files, paths: list[str], comment: str) -> dict[str, str]:
    def first_line(path: str) -> str:
        try:
            return files.first_line(path, comment)
        except (OSError, EOFError, zlib.error) as error:
            if isinstance(error, OSError) and error.errno is not None:  # the disk, not the data
                raise ComponentError(f"cannot read {path}: {error.strerror}") from error
            raise ComponentError(f"{path} is cut short or damaged; replace it") from error

    with ThreadPoolExecutor(_PARALLEL_READS) as pool:
        return dict(zip(paths, pool.map(first_line, paths), strict=True))


def _settings(source: FileSource) -> dict[str, str]:
    """Returns the options of `from_csv`; the user's cannot change how bad rows are treated."""
    ours = {
        "mode": "PERMISSIVE",
        "columnNameOfCorruptRecord": CORRUPT,
        "nullValue": "",
        "header": "false",
        "maxColumns": "200000",  # a line with too many fields is rejected, not fatal
    }
    return {**source.options, **ours, "sep": separator(source), "escape": _quotes(source)[1]}


def _quotes(source: FileSource) -> tuple[str, str]:
    """Returns the quote, and its escape within quotes, which is another quote by default."""
    quote = source.options.get("quote", '"')
    return quote, source.options.get("escape", quote)


def separator(source: FileSource) -> str:
    """Returns the separator of fields; the config may write it as `\\t` or `\\u0001`."""
    given = source.options.get("sep", source.options.get("delimiter", ","))
    if re.fullmatch(r"\\u[0-9a-fA-F]{4}", given):
        return chr(int(given[2:], 16))
    return _ESCAPED_SEPARATORS.get(given, given)


def _dialect(source: FileSource) -> Dialect:
    return Dialect(separator(source), _quotes(source)[0], source.options.get("comment", ""))


def csv_header(name: str, source: FileSource, first_lines: Mapping[str, str]) -> list[str]:
    """Returns the columns of the files; see `common_header`.

    Raises:
      ComponentError: A declared column is missing, or the files have no common header.
    """
    header = common_header(name, source, first_lines)
    for column in source.columns:
        if column not in header:
            raise missing_column(name, column, header)
    return header


def common_header(name: str, source: FileSource, first_lines: Mapping[str, str]) -> list[str]:
    """Returns the columns of the files, which must be the same in all of them.

    Args:
      name: Name of the source.
      source: Declaration of the source, whose options may set the separator. Its columns are not
        looked at.
      first_lines: Path -> first line that is not blank.

    Raises:
      ComponentError: Two columns have one name, or a file has other columns than the first one.
    """
    present = {
        path: _fields(name, path, line, source) for path, line in first_lines.items() if line
    }
    if not present:
        raise ComponentError(
            f"source '{name}' is empty: its files have no rows; add data, or correct `path`"
        )
    first, header = next(iter(present.items()))
    for path, other in present.items():
        if other != header:
            raise ComponentError(
                f"source '{name}': {path} has the columns {', '.join(other)}, but {first} has "
                f"{', '.join(header)}; give all files the same columns"
            )
    if len(set(header)) < len(header):
        twice = next(column for column in header if header.count(column) > 1)
        raise ComponentError(
            f"source '{name}': {first} has two columns named '{twice}'; rename one"
        )
    return header


def _fields(name: str, path: str, line: str, source: FileSource) -> list[str]:
    between, (quote, _) = separator(source), _quotes(source)
    if len(between) != 1 or len(quote) != 1:
        return [field.strip(quote) for field in line.split(between)]
    csv.field_size_limit(sys.maxsize)
    try:
        return next(csv.reader([line], delimiter=between, quotechar=quote, strict=True))
    except csv.Error as error:
        raise ComponentError(
            f"source '{name}': the header of {path} cannot be read ({error}): it must be one line "
            "of text in UTF-8, with its quotes closed"
        ) from error
