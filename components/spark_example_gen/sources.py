"""What a SparkExampleGen reads, as data: it travels as JSON from the pipeline to the executor."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

FILE_FORMATS = ("json", "csv", "parquet", "orc")
TEXT_FORMATS = ("json", "csv")


@dataclasses.dataclass(frozen=True)
class FileSource:
    """Files under the component's `input_base`.

    Attributes:
      format: json (one object a line), csv (with a header), parquet or orc.
      path: glob relative to `input_base`; may hold {SPAN}, {VERSION}, {YYYY}, {MM}, {DD}, {HH}.
      columns: column -> Spark SQL type. Required for json and csv, where the type is nowhere else
        to be found; optional for parquet and orc, where it is checked and selects columns.
        A column that is null in every row counts as missing, and is an error.
      options: Spark's reader options, as strings.
      spans_after: spans behind the window to read as well: events that follow the last span's rows,
        such as outcomes. Not for the primary source.
      missing_spans: 'error' or 'allow': whether a hole in the window, or a span missing behind it,
        is accepted.
    """

    format: str
    path: str
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    spans_after: int = 0
    missing_spans: str = "error"

    def __post_init__(self) -> None:
        if self.format not in FILE_FORMATS:
            raise ValueError(f"format '{self.format}' is none of {', '.join(FILE_FORMATS)}")
        if self.format in TEXT_FORMATS and not self.columns:
            raise ValueError(f"a {self.format} source needs `columns`: name -> Spark SQL type")
        if not self.path or self.path.startswith("/") or ".." in self.path.split("/"):
            raise ValueError(f"path '{self.path}' must be relative to input_base, without '..'")
        if self.missing_spans not in ("error", "allow"):
            raise ValueError("missing_spans is 'error' or 'allow'")
        if self.spans_after < 0:
            raise ValueError("spans_after is a number of spans, 0 or more")


@dataclasses.dataclass(frozen=True)
class SparkConfig:
    """Where Spark runs. `conf` is Spark's own configuration, key -> value."""

    master: str = "local[*]"
    conf: Mapping[str, str] = dataclasses.field(default_factory=dict)


def sources_to_json(sources: Mapping[str, FileSource]) -> list[dict[str, Any]]:
    """A list, because the order says which source is primary: the first one."""
    return [{"name": name, **dataclasses.asdict(source)} for name, source in sources.items()]


def sources_from_json(entries: list[dict[str, Any]]) -> dict[str, FileSource]:
    return {
        entry["name"]: FileSource(**{k: v for k, v in entry.items() if k != "name"})
        for entry in entries
    }
