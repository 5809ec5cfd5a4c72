"""Opens a finished run by its examples or quarantine folder: the manifest and rejected rows."""

from __future__ import annotations

import dataclasses
import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from base.errors import ComponentError
from base.shared_names import EXAMPLES_MANIFEST
from spark_io.publishing.publish import FORMAT_VERSION, RECORDS, SUMMARY


@dataclasses.dataclass(frozen=True)
class RejectedRow:
    """A row that a run rejected.

    Attributes:
      source: Name of the source.
      reason: Reason code.
      record: Text of the row as it was read; None if the ETL did not keep it.
    """

    source: str
    reason: str
    record: str | None


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """The published result of a run.

    Attributes:
      examples: Folder of the Examples artifact.
      quarantine: Folder of the QuarantinedRecords artifact.
      manifest: Manifest of the examples.
    """

    examples: Path
    quarantine: Path
    manifest: dict[str, Any]

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Number of rejected rows, as source -> reason -> rows."""
        counts: dict[str, dict[str, int]] = self.manifest["quarantined"]
        return counts

    def rejected(self) -> Iterator[RejectedRow]:
        """Yields every rejected row.

        Raises:
          ComponentError: A file is damaged, or the rows do not match the manifest's counts.
        """
        counts: dict[str, Counter[str]] = {}
        for path in sorted((self.quarantine / RECORDS).glob("*.json.gz")):
            for line in _lines(path):
                row = RejectedRow(**line)
                counts.setdefault(row.source, Counter())[row.reason] += 1
                yield row
        if counts != self.counts:
            raise ComponentError(
                f"{self.quarantine / 'records'} does not hold the rows that the manifest counts; "
                "files are missing or changed, so run the pipeline again"
            )


def open_run(folder: Path) -> FinishedRun:
    """Opens the run that a folder belongs to.

    Args:
      folder: Folder of the run's examples or of its quarantine.

    Raises:
      ComponentError: The folder is missing, is not an artifact of SparkExampleGen, has another
        format version, or its counterpart is missing.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise ComponentError(f"the folder {folder} does not exist")
    if (folder / EXAMPLES_MANIFEST).is_file():
        examples, quarantine = folder, _beside(folder, "examples", "quarantine")
    elif (folder / SUMMARY).is_file():
        examples, quarantine = _beside(folder, "quarantine", "examples"), folder
    else:
        raise ComponentError(
            f"{folder} holds neither {EXAMPLES_MANIFEST} (examples) nor {SUMMARY} (quarantine); "
            "give the folder of one run, such as .../SparkExampleGen/examples/12"
        )
    for needed in (examples / EXAMPLES_MANIFEST, quarantine / SUMMARY):
        if not needed.is_file():
            raise ComponentError(
                f"{folder} has no counterpart: there is no {needed}; keep the examples and the "
                "quarantine of a run where the pipeline wrote them"
            )
    manifest = _json(examples / EXAMPLES_MANIFEST)
    written = manifest.get("format_version")
    if written != FORMAT_VERSION:
        raise ComponentError(
            f"{examples / EXAMPLES_MANIFEST} was written by another release: expected format "
            f"{FORMAT_VERSION}, received {written}. Run the pipeline again with this release"
        )
    if _json(quarantine / SUMMARY) != manifest["quarantined"]:
        raise ComponentError(f"{examples} and {quarantine} are not of the same run")
    return FinishedRun(examples, quarantine, manifest)


def _beside(folder: Path, ours: str, other: str) -> Path:
    """Returns the other folder: TFX uses COMPONENT/examples/12 and COMPONENT/quarantine/12."""
    if folder.parent.name == ours:
        return folder.parent.with_name(other) / folder.name
    return folder.with_name(other)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ComponentError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise ComponentError(
            f"{path} must be a JSON object; give a folder that SparkExampleGen wrote"
        )
    return content


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
            for line in file:
                yield json.loads(line)
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ComponentError(f"{path} is cut short or damaged; run the pipeline again") from error
