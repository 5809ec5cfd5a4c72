"""Decides what a run will read before it reads it: spans, files, offsets and their fingerprint.

The driver does this before it looks at the cache. The Spark job does it again before it reads, to
notice input that changed meanwhile, and to work without a driver.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from base.errors import ComponentError
from spark_io.connectors import CONNECTORS
from spark_io.connectors.connector import InputLocation, SourceInput
from spark_io.connectors.files import read_index
from spark_io.sources.source_types import AnySource, FileSource
from spark_io.sources.spans import SpanRange


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The inputs of a run.

    Attributes:
      by_source: Source -> its input; the first source is primary.
    """

    by_source: dict[str, SourceInput]

    @property
    def primary(self) -> SourceInput:
        return next(iter(self.by_source.values()))

    @property
    def spans(self) -> tuple[int, ...]:
        return self.primary.spans

    @property
    def span(self) -> int:
        return self.spans[-1]

    @property
    def version(self) -> int | None:
        return self.primary.version

    def facts(self) -> dict[str, dict[str, Any]]:
        return {name: found.facts for name, found in self.by_source.items()}

    def fingerprint(self) -> str:
        """Returns the SHA-256 of all facts: names and contents, not times."""
        return hashlib.sha256(json.dumps(self.facts(), sort_keys=True).encode()).hexdigest()


def needs_spark(input_base: str, sources: Mapping[str, AnySource]) -> bool:
    """Returns whether some source needs Spark's clients."""
    return not all(
        isinstance(source, FileSource) and source.is_local(input_base)
        for source in sources.values()
    )


def find_inputs(
    sources: Mapping[str, AnySource], wanted: SpanRange, place: InputLocation
) -> Inputs:
    """Finds the input of every source; the first one decides the spans of the run.

    Raises:
      ComponentError: An input is missing or unusable; see the connectors and `spans`.
    """
    if wanted.last is None:
        wanted = dataclasses.replace(wanted, at_most=_newest_complete(sources, place))
    found: dict[str, SourceInput] = {}
    primary: SourceInput | None = None
    for name, source in sources.items():
        this = CONNECTORS[source.kind].find(name, source, wanted, place)
        kinds = {this.hourly, primary.hourly if primary else None}
        if kinds == {True, False}:
            raise ComponentError(
                f"source '{name}' and the primary source must both be daily or both hourly"
            )
        if primary is None:
            if this.has_spans and wanted.last is not None and wanted.last not in this.spans:
                raise ComponentError(
                    f"source '{name}': span {wanted.last} is empty: its index says that nothing "
                    "happened in it. Choose another --span"
                )
            primary = this
            # A secondary source follows the primary one, not its own newest span.
            if this.has_spans:
                wanted = SpanRange(wanted.length, this.spans[-1])
        found[name] = this
    return Inputs(found)


def _newest_complete(sources: Mapping[str, AnySource], place: InputLocation) -> int | None:
    """Returns the newest span that is complete, with its outcomes, in all sources with an index.

    The result is None if no source has one.
    """
    bounds = []
    for name, source in sources.items():
        if isinstance(source, FileSource) and source.index:
            period, index = source.period_ms, read_index(name, source, place)
            assert period is not None and index is not None
            complete = 0 if index.complete_ms is None else index.complete_ms
            bounds.append((complete - source.around.waits_ms) // period - 1)
    return min(bounds, default=None)
