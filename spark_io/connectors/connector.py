"""What a connector found, and where it looked."""

from __future__ import annotations

import dataclasses
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from base.errors import ComponentError


@dataclasses.dataclass(frozen=True)
class InputLocation:
    """Where a connector looks.

    Attributes:
      base: folder or URI that paths are relative to.
      spark: needed for all but local files.
      decided: what the driver found, by source: offsets that have moved on since then are not asked
        for again.
      checksums: whether the contents of tables are read for their checksum now; a job takes it from
        the rows that it reads anyway.
    """

    base: str
    spark: SparkSession | None = None
    decided: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    checksums: bool = True

    def session(self) -> SparkSession:
        if self.spark is None:
            raise ComponentError("this source can be asked only with Spark running")
        return self.spark


@dataclasses.dataclass(frozen=True)
class SourceInput:
    """What one source will be read from, decided before it is read.

    Attributes:
      spans: those found, oldest first; (0,) for a source without spans.
      version: of the last span, if the source has versions.
      hourly: whether its spans are hours; None for a source without dates.
      facts: plain JSON: all that is needed to read it, and what its contents are. The fingerprint
        is computed over it, and the manifest keeps it.
      has_spans: whether the source comes in spans.
    """

    spans: tuple[int, ...]
    version: int | None
    hourly: bool | None
    facts: dict[str, Any]
    has_spans: bool = True

    def with_facts(self, **facts: Any) -> SourceInput:
        return dataclasses.replace(self, facts={**self.facts, **facts})


@dataclasses.dataclass(frozen=True)
class ConnectorRows:
    """A connector's rows.

    Attributes:
      frame: the columns; if judged, also those of lines.py.
      judged: whether `frame` has REASON and RECORD: it was made from text that may not fit.
      keep: whether the rows must be kept because a second reading could give others.
    """

    frame: DataFrame
    judged: bool = False
    keep: bool = True


def missing_column(name: str, column: str, present: list[str]) -> ComponentError:
    return ComponentError(
        f"source '{name}' has no column '{column}' (or nothing in it); it has: "
        f"{', '.join(sorted(present))}. Repair the data or `columns` in the config"
    )
