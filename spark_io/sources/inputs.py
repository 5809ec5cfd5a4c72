"""What will be read, decided before it is read: spans, files, offsets, and their fingerprint.

The driver asks this before the cache is looked at; the Spark job asks it again before it reads, so
that input which changed in between is noticed (and so that it also works where no driver runs).
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
from spark_io.sources.source_types import AnySource, FileSource
from spark_io.sources.spans import SpanRange


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Attributes:
    found: source -> what it will be read from; the first one is primary.
    """

    found: dict[str, SourceInput]

    @property
    def primary(self) -> SourceInput:
        return next(iter(self.found.values()))

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
        return {name: found.facts for name, found in self.found.items()}

    def fingerprint(self) -> str:
        """SHA-256 over what every source will be read from: names and contents, not times."""
        return hashlib.sha256(json.dumps(self.facts(), sort_keys=True).encode()).hexdigest()


def needs_spark(input_base: str, sources: Mapping[str, AnySource]) -> bool:
    """Whether some source can be asked only with Spark's clients."""
    return not all(
        isinstance(source, FileSource) and source.is_local(input_base)
        for source in sources.values()
    )


def find_inputs(
    sources: Mapping[str, AnySource], wanted: SpanRange, place: InputLocation
) -> Inputs:
    """Asks every source; the first one decides which spans the run is about.

    Raises:
      ComponentError: see the connectors and `spans`.
    """
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
            primary = this
            # A secondary source follows the primary one, not its own newest span.
            if this.has_spans:
                wanted = SpanRange(wanted.length, this.spans[-1])
        found[name] = this
    return Inputs(found)
