"""Finds the sources of a finished run whose rows can be replayed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from base.errors import ComponentError
from spark_io.replay.finished_run import FinishedRun
from spark_io.replay.next_version import Version, check_pattern, versions_read
from spark_io.sources.source_types import FileSource
from spark_io.sources.spans import SpanPattern

_ELSEWHERE = {
    "jdbc": "fix the rows in the database",
    "table": "fix the rows in the table",
    "kafka": "send corrected records to the topic",
}


@dataclasses.dataclass(frozen=True)
class ReplaySource:
    """A source whose rows can be replayed, as a run read it.

    Attributes:
      name: Name of the source.
      source: Declaration of the source.
      base: Folder that paths are relative to.
      facts: Entry of the source in the manifest, with `files` and `rows_read`.
    """

    name: str
    source: FileSource
    base: Path
    facts: dict[str, Any]

    @property
    def pattern(self) -> SpanPattern:
        return check_pattern(self.name, self.source.path)

    def versions(self) -> list[Version]:
        return versions_read(
            self.name, self.pattern, [file["path"] for file in self.facts["files"]]
        )


def replayable_source(run: FinishedRun, name: str) -> ReplaySource:
    """Returns a source of the run.

    Raises:
      ComponentError: The run has no source of this name, or its rows must be fixed elsewhere.
    """
    sources = {entry["name"]: entry for entry in run.manifest["sources"]}
    if name not in sources:
        raise ComponentError(f"the run has no source '{name}'; it has: {', '.join(sources)}")
    facts, base = sources[name], run.manifest["input_base"]
    if facts["kind"] != FileSource.kind:
        raise ComponentError(
            f"source '{name}' is of kind {facts['kind']}, and replay needs files; "
            f"{_ELSEWHERE[facts['kind']]}, and run again"
        )
    fields = {field.name for field in dataclasses.fields(FileSource)}
    source = FileSource(**{key: value for key, value in facts.items() if key in fields})
    if source.format != "json":
        raise ComponentError(
            f"source '{name}' is {source.format}, and replay repairs JSON lines; fix the rows "
            "where the files are made, and run again"
        )
    if not source.is_local(base):
        raise ComponentError(
            f"source '{name}' is read from {source.place(base)[0]}, and replay writes to local and "
            "mounted folders; write fixed files there as a new version, and run again"
        )
    check_pattern(name, source.path)
    return ReplaySource(name, source, Path(base), facts)
