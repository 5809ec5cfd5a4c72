"""The sources of a finished run whose rows can be replayed, and what is said of the others."""

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
    "jdbc": "mend the rows in the database",
    "table": "mend the rows in the table",
    "kafka": "send mended records to the topic",
}


@dataclasses.dataclass(frozen=True)
class ReplaySource:
    """A source whose rows can be replayed, as a run read it.

    Attributes:
      name: its name.
      source: what it is.
      base: the folder that paths are relative to.
      facts: of the manifest: files, rows_read.
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


def source_of(run: FinishedRun, name: str) -> ReplaySource:
    """A source of the run.

    Raises:
      ComponentError: there is none of this name, or its rows have to be repaired elsewhere.
    """
    sources = {entry["name"]: entry for entry in run.manifest["sources"]}
    if name not in sources:
        raise ComponentError(f"the run has no source '{name}'; it has: {', '.join(sources)}")
    facts, base = sources[name], run.manifest["input_base"]
    if facts["kind"] != FileSource.kind:
        raise ComponentError(
            f"source '{name}' is of kind {facts['kind']}, not of files: "
            f"{_ELSEWHERE[facts['kind']]}, and run again"
        )
    fields = {field.name for field in dataclasses.fields(FileSource)}
    source = FileSource(**{key: value for key, value in facts.items() if key in fields})
    if source.format != "json":
        raise ComponentError(
            f"source '{name}' is {source.format}, and replay repairs JSON lines: mend the rows "
            "where the files are made, and run again"
        )
    if not source.is_local(base):
        raise ComponentError(
            f"source '{name}' is read from {source.place(base)[0]}, and replay writes to local and "
            "mounted folders: mend its files there, as a new version, and run again"
        )
    check_pattern(name, source.path)
    return ReplaySource(name, source, Path(base), facts)
