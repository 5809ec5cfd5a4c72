"""Reads CSV records that may span lines, with a strict parser.

Spark's parser takes everything after an open quote as one value, and never counts the rows that it
swallows. Python's csv module in strict mode stops instead, at a quote that is never closed or at
text after a closing quote.
"""

from __future__ import annotations

import bz2
import csv
import dataclasses
import gzip
import io
import sys
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from pyspark.sql import DataFrame, DataFrameReader, Row

from base.errors import ComponentError
from spark_io.connectors.lines import NOT_UTF8, UNPARSEABLE, strings
from spark_io.sources.column_names import LINE, REASON, quoted

FIELDS = "_fields"


@dataclasses.dataclass(frozen=True)
class Dialect:
    """The special characters of a CSV file; `comment` is '' for none."""

    separator: str
    quote: str
    comment: str

    def reader(self, lines: Iterator[str]) -> Iterator[list[str]]:
        return csv.reader(lines, delimiter=self.separator, quotechar=self.quote, strict=True)


def read_records(
    reader: DataFrameReader,
    paths: list[str],
    header: list[str],
    dialect: Dialect,
    folder_columns: Sequence[str] = (),
) -> DataFrame:
    """Returns the records of whole files: FIELDS (array of string), LINE (its text) and REASON.

    A worker holds one file in memory. REASON is set for a record that is not as wide as the header
    or is not UTF-8. Bytes that are not UTF-8 are decoded as ISO-8859-1.

    Args:
      reader: Spark's reader; its option basePath adds the columns in folder names.
      paths: Paths, as Spark takes them.
      header: Names of the columns; records that equal it are left out.
      dialect: Special characters of the files.
      folder_columns: Columns in folder names to return, as strings.

    Raises (in Spark's workers):
      ComponentError: A quote is not closed, or text follows a closing quote, so the ends of records
        are unknown. The error gives file and line.
    """
    files = reader.format("binaryFile").load(paths)
    files = files.select("path", "content", *strings(folder_columns))
    schema = f"{FIELDS} array<string>, {LINE} string, {REASON} string"
    schema += "".join(f", {quoted(column)} string" for column in folder_columns)

    def rows(file: Row) -> Iterator[tuple[Any, ...]]:
        path, content, *folders = file
        for record in _records(path, bytes(content), header, dialect):
            yield (*record, *folders)

    return files.sparkSession.createDataFrame(files.rdd.flatMap(rows), schema)


def _records(
    path: str, content: bytes, header: list[str], dialect: Dialect
) -> Iterator[tuple[list[str] | None, str, str | None]]:
    csv.field_size_limit(sys.maxsize)
    lines = _Lines(_opened(path, content), dialect.comment)
    records = dialect.reader(lines)
    while True:
        lines.begin_record()
        try:
            fields = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            raise ComponentError(
                f"{path}, the record that begins in line {lines.first}: a quote is not closed, or "
                f"text follows a closing quote ({error}); repair the file"
            ) from error
        except (OSError, EOFError, zlib.error) as error:
            raise ComponentError(f"{path} is cut short or damaged; replace it") from error
        text = "".join(lines.taken).rstrip("\r\n")
        # In concatenated files a header may be repeated, with a byte order mark.
        if not text.strip(" ") or [fields[0].lstrip("\ufeff"), *fields[1:]] == header:
            continue
        try:
            text.encode()
        except UnicodeEncodeError:
            yield None, text.encode(errors="surrogateescape").decode("latin-1"), NOT_UTF8
            continue
        fits = len(fields) == len(header)
        yield (fields, text, None) if fits else (None, text, UNPARSEABLE)


def _opened(path: str, content: bytes) -> io.TextIOWrapper:
    data: Any = io.BytesIO(content)
    if path.endswith(".gz"):
        data = gzip.GzipFile(fileobj=data)
    elif path.endswith(".bz2"):
        data = bz2.BZ2File(data)
    return io.TextIOWrapper(data, "utf-8-sig", "surrogateescape", newline="")


class _Lines:
    """Iterates over the lines of a file without comments, and keeps those of the current record."""

    def __init__(self, file: io.TextIOWrapper, comment: str):
        self._file = file
        self._comment = comment
        self._number = 0
        self.begin_record()

    def begin_record(self) -> None:
        self.taken: list[str] = []
        self.first = self._number + 1

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._file)
        self._number += 1
        while not self.taken and self._comment and line.startswith(self._comment):
            line = next(self._file)
            self._number += 1
            self.first = self._number
        self.taken.append(line)
        return line
