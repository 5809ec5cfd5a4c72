"""Looks at the files of a config's sources: names, headers, footers and first lines."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import base.arrow  # noqa: F401
from base.errors import ComponentError
from base.section import closest
from pipeline.config import PipelineConfig
from spark_io.connectors import codecs
from spark_io.connectors.csv_lines import common_header, separator
from spark_io.connectors.local_files import LocalFiles, opened
from spark_io.sources.source_types import FileSource
from spark_io.sources.spans import SpanPattern

_FIRST_LINES = 100
_MOST_FILES = 200  # whose headers or footers are read
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(NaN|Inf|Infinity)")
_WHOLE, _DATE = re.compile(r"[+-]?\d+"), re.compile(r"\d{4}-\d{2}-\d{2}")
_OTHER_TYPES = ("string", "binary", "decimal", "timestamp_ntz", "timestamp_ltz", "real")
_NESTED = ("decimal(", "dec(", "numeric(", "char(", "varchar(", "array<", "map<", "struct<")
_WHOLE_TYPES = ("tinyint", "byte", "smallint", "short", "int", "integer", "bigint", "long")
# Declared types -> the form that a text must have to be one.
_FORMS: Mapping[str, Callable[[str], object]] = {
    **dict.fromkeys(_WHOLE_TYPES, _WHOLE.fullmatch),
    **dict.fromkeys(("float", "double"), _NUMBER.fullmatch),
    "boolean": lambda text: text.lower() in ("true", "false"),
    "date": _DATE.fullmatch,
    "timestamp": _DATE.match,
}


def source_problems(config: PipelineConfig) -> tuple[list[str], list[str]]:
    """Returns problems of the sources, and which sources could not be looked at and why."""
    problems, notes = [], []
    root = Path(config.data_root)
    if not root.is_dir():
        if config.sample_data is not None:
            return [], [f"the sources: a run makes the sample data in {root} first"]
        return [f"data_root: there is no folder {root}; correct the path, or get the data"], []
    for name, source in config.sources.items():
        problems += _type_problems(name, getattr(source, "columns", {}))
        if not isinstance(source, FileSource):
            notes.append(f"sources.{name}: its service is asked by a run")
        elif not source.is_local(config.data_root):
            notes.append(f"sources.{name}: its files are not on a local disk")
        else:
            try:
                problems += _file_problems(name, source, config)
            except ComponentError as error:
                problems.append(str(error))
            except (OSError, EOFError, UnicodeDecodeError, pa.ArrowException) as error:
                problems.append(
                    f"source '{name}': its files cannot be read ({error}); replace them, or "
                    "correct `path` and `format`"
                )
    return problems, notes


def _type_problems(name: str, columns: Mapping[str, str]) -> list[str]:
    """Returns a line for each type that Spark does not know; it alone can read nested ones."""
    known = (*_FORMS, *_OTHER_TYPES)
    lines = []
    for column, kind in columns.items():
        simple = kind.lower().strip()
        if simple not in known and not simple.startswith(_NESTED):
            close = closest(simple, known)
            advice = (
                f"Did you mean {close}?" if close else "Spark SQL's are int, double, string ..."
            )
            lines.append(f"sources.{name}.columns.{column}: Spark knows no type '{kind}'. {advice}")
    return lines


def _file_problems(name: str, source: FileSource, config: PipelineConfig) -> list[str]:
    base, relative = source.place(config.data_root)
    files = LocalFiles(base)
    pattern = SpanPattern(relative)
    paths = files.matching(pattern)
    if not paths:
        return [
            f"source '{name}': no file in {base} fits {relative}; correct data_root or the path"
        ]
    pattern.find(paths)  # dates of the wrong form
    some = paths[-_MOST_FILES:]  # the newest ones, where the names are dates
    if source.format in ("csv", "json"):
        codecs.check_names(name, paths, local=True)
        codecs.check_contents(name, some, files)
    if source.format == "csv":
        lines = {path: files.first_line(path, source.options.get("comment", "")) for path in some}
        header = common_header(name, source, lines)
        rows = _csv_rows(Path(base, some[-1]), source, header)
        absent = _absent(name, source.columns, header, some[-1])
        return [*absent, *_unfit(name, source, rows, some[-1])]
    if source.format == "json":
        return _json_problems(name, source, Path(base, some[-1]))
    if source.format == "parquet":
        footer = pq.read_schema(Path(base, some[-1]))
        return _absent(name, source.columns, footer.names, some[-1])
    return []


def _csv_rows(path: Path, source: FileSource, header: list[str]) -> list[Mapping[str, str | None]]:
    """Returns the first rows of a file, as text; None for an empty field."""
    quote = source.options.get("quote", '"')
    between = separator(source)
    if len(between) != 1 or len(quote) != 1:
        return []
    with opened(path) as file:
        lines = (raw.decode("utf-8", "replace") for raw in file)
        reader = csv.reader(
            itertools.islice(lines, _FIRST_LINES + 1), delimiter=between, quotechar=quote
        )
        fields = [one for one in reader if len(one) == len(header)]
    rows: list[Mapping[str, str | None]] = [
        {column: text or None for column, text in zip(header, one, strict=True)}
        for one in fields[1:]
    ]
    return rows


def _json_problems(name: str, source: FileSource, path: Path) -> list[str]:
    rows: list[dict[str, Any]] = []
    with opened(path) as file:
        for raw in itertools.islice(file, _FIRST_LINES):
            try:
                row = json.loads(raw)
            except ValueError:
                continue
            if isinstance(row, dict):
                rows.append(row)
    if not rows:
        return [
            f"source '{name}': none of the first {_FIRST_LINES} lines of {path.name} is a JSON "
            "object; correct `format` or the path"
        ]
    present = list(dict.fromkeys(key for row in rows for key in row))
    required = [column for column in source.columns if column not in source.may_be_null]
    return _absent(name, required, present, f"the first lines of {path.name}")


def _absent(name: str, wanted: Iterable[str], present: Iterable[str], where: str) -> list[str]:
    """Returns a line for each column that is not there."""
    lines, known = [], list(present)
    for column in wanted:
        if column not in known:
            close = closest(column, known)
            advice = f"Did you mean '{close}'?" if close else f"It has: {', '.join(known[:20])}"
            lines.append(f"source '{name}': {where} has no column '{column}'. {advice}")
    return lines


def _unfit(
    name: str, source: FileSource, rows: list[Mapping[str, str | None]], path: str
) -> list[str]:
    """Returns a line for each column of which no value is of the declared type."""
    formats = ("dateFormat", "timestampFormat", "timestampNTZFormat", "nullValue", "nanValue")
    if any(option in source.options for option in formats):
        return []
    lines = []
    for column, kind in source.columns.items():
        fits = _FORMS.get(kind.lower())
        texts = [text for row in rows if (text := row.get(column)) is not None]
        if fits is not None and texts and not any(fits(text) for text in texts):
            lines.append(
                f"source '{name}': none of the first {len(texts)} values of '{column}' in {path} "
                f"is a {kind}, such as {texts[0][:40]!r}; correct its type in `columns`"
            )
    return lines
