"""Defines what connectors receive and return."""

from __future__ import annotations

import dataclasses
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from base.errors import ComponentError


@dataclasses.dataclass(frozen=True)
class InputLocation:
    """The place where a connector looks for data.

    Attributes:
      base: Folder or URI that paths are relative to.
      spark: Spark session; needed for everything but local files.
      decided: Source -> facts that the driver found. They replace a new look at offsets, which may
        have moved since.
      checksums: Whether to read tables for their checksum now. A job computes it from the rows that
        it reads anyway.
    """

    base: str
    spark: SparkSession | None = None
    decided: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    checksums: bool = True

    def session(self) -> SparkSession:
        if self.spark is None:
            raise ComponentError("this source needs a Spark session; run it in the Spark job")
        return self.spark


@dataclasses.dataclass(frozen=True)
class SourceInput:
    """The input of one source, decided before it is read.

    Attributes:
      spans: Spans found, oldest first; (0,) for a source without spans.
      version: Version of the last span, if the source has versions.
      hourly: Whether the spans are hours; None for a source without dates.
      facts: Plain JSON that identifies the contents and suffices to read them. The fingerprint is
        computed over it, and the manifest keeps it.
      has_spans: Whether the source has spans.
      complete_ms: Epoch milliseconds up to which its rows are there, as far as the window and its
        outcomes need them; None without dates.
    """

    spans: tuple[int, ...]
    version: int | None
    hourly: bool | None
    facts: dict[str, Any]
    has_spans: bool = True
    complete_ms: int | None = None

    def with_facts(self, **facts: Any) -> SourceInput:
        return dataclasses.replace(self, facts={**self.facts, **facts})


@dataclasses.dataclass(frozen=True)
class ConnectorRows:
    """A connector's rows.

    Attributes:
      frame: Columns of the source, and REASON and RECORD if `has_reasons`; see lines.py.
      has_reasons: Whether `frame` says which rows do not fit the columns.
      must_persist: Whether a second reading could give other rows, so these must be kept.
    """

    frame: DataFrame
    has_reasons: bool = False
    must_persist: bool = True


def missing_column(name: str, column: str, present: list[str]) -> ComponentError:
    return ComponentError(
        f"source '{name}' has no column '{column}', or it is null in every row. Columns with "
        f"values: {', '.join(sorted(present))}. Fix the data, or `columns` in the config"
    )
