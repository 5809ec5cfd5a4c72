"""What will be read, decided before it is read: files, spans, and their fingerprint.

The driver asks this before the cache is looked at; the executor asks it again before it reads, so
that input which changed in between is noticed (and so that it also works where no driver runs).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import google_crc32c

from components.errors import ComponentError
from components.spark_example_gen.sources import FileSource
from components.spark_example_gen.spans import SpanPattern, SpanRange, resolve


@dataclasses.dataclass(frozen=True)
class InputFile:
    path: Path
    bytes: int
    crc32c: str

    def to_json(self, base: Path) -> dict[str, Any]:
        path = self.path.relative_to(base).as_posix()
        return {"path": path, "bytes": self.bytes, "crc32c": self.crc32c}


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Attributes:
    base: folder that paths are relative to.
    files: source -> files, in span order.
    spans: spans of the primary source that were found, oldest first.
    version: version of the last span, if the primary source has versions.
    """

    base: Path
    files: dict[str, list[InputFile]]
    spans: tuple[int, ...]
    version: int | None

    @property
    def span(self) -> int:
        return self.spans[-1]

    def fingerprint(self) -> str:
        """SHA-256 over names, sizes and checksums: a touched file is the same file."""
        digest = hashlib.sha256()
        for name, files in self.files.items():
            for file in files:
                relative = file.path.relative_to(self.base).as_posix()
                digest.update(f"{name}\0{relative}\0{file.bytes}\0{file.crc32c}\n".encode())
        return digest.hexdigest()

    def describe(self) -> list[dict[str, Any]]:
        """For the manifest: a source and its files."""
        return [
            {"name": name, "files": [file.to_json(self.base) for file in files]}
            for name, files in self.files.items()
        ]


def find_inputs(base: str, sources: Mapping[str, FileSource], wanted: SpanRange) -> Inputs:
    """Resolves every source; the first one decides which spans the run is about.

    Raises:
      ComponentError: see `spans.resolve`.
    """
    folder = Path(base)
    files: dict[str, list[InputFile]] = {}
    spans: tuple[int, ...] = ()
    version = None
    primary_hourly = False
    for name, source in sources.items():
        pattern = SpanPattern(source.path)
        if spans and pattern.has_spans and pattern.hourly != primary_hourly:
            raise ComponentError(
                f"source '{name}' and the primary source must both be daily or both hourly"
            )
        found = resolve(
            folder,
            pattern,
            wanted,
            source=name,
            spans_after=source.spans_after,
            missing=source.missing_spans,
        )
        if not spans:
            spans, version, primary_hourly = (
                tuple(sorted(found.files)),
                found.version,
                pattern.hourly,
            )
            # A secondary source follows the primary one, not its own newest span.
            wanted = SpanRange(wanted.length, found.last) if pattern.has_spans else wanted
        files[name] = [_checksummed(path) for path in found.paths()]
    return Inputs(folder, files, spans, version)


def _checksummed(path: Path) -> InputFile:
    checksum = google_crc32c.Checksum()
    try:
        with path.open("rb") as file:
            for _ in checksum.consume(file, 1 << 20):
                pass
    except OSError as error:
        raise ComponentError(f"cannot read {path}: {error.strerror}") from error
    return InputFile(path, path.stat().st_size, checksum.digest().hex())
