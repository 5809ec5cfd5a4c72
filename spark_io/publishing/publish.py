"""Publishes a staging folder as an artifact: numbered shards, a manifest, one rename.

The last rename makes everything visible at once. A split folder holds data files only.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from base.atomic_files import fsync_folder, move_durably, write_json
from base.errors import ComponentError
from base.shared_names import EXAMPLES_MANIFEST
from spark_io.examples import shards

FORMAT_VERSION = 2  # of the manifest
SUMMARY = "summary.json"  # rejected rows: source -> reason -> rows
RECORDS = "records"  # the folder of the rejected rows
ATTEMPTS = "attempts"  # in the staging folder: where tasks write


@dataclasses.dataclass(frozen=True)
class TaskReport:
    """The files, counts and checksums that the successful tasks reported."""

    files: dict[str, list[dict[str, Any]]]  # split -> [{file, rows, bytes, crc32c}]
    quarantine_files: tuple[str, ...]
    quarantined: dict[str, dict[str, int]]  # source -> reason -> rows
    dropped: dict[str, int]  # reason -> rows

    @classmethod
    def from_rows(cls, rows: Iterable[Any], splits: Iterable[str]) -> TaskReport:
        """Sums up rows of `shards.REPORT_SCHEMA` for the named splits."""
        files: dict[str, list[dict[str, Any]]] = {split: [] for split in splits}
        quarantined: dict[str, Counter[str]] = {}
        quarantine_files, dropped = set(), Counter[str]()
        for row in rows:
            if row.kind == shards.EXAMPLES:
                shard = {"rows": row.rows, "bytes": row.bytes, "crc32c": f"{row.crc32c:08x}"}
                files[row.name].append({"file": row.file, **shard})
            elif row.kind == shards.QUARANTINE:
                quarantined.setdefault(row.source, Counter())[row.name] += row.rows
                quarantine_files.add(row.file)
            else:
                dropped[row.name] += row.rows
        return cls(
            files={
                split: sorted(entries, key=lambda e: e["file"]) for split, entries in files.items()
            },
            quarantine_files=tuple(sorted(quarantine_files)),
            quarantined={
                source: dict(sorted(n.items())) for source, n in sorted(quarantined.items())
            },
            dropped=dict(sorted(dropped.items())),
        )

    def split_rows(self) -> dict[str, int]:
        return {split: sum(f["rows"] for f in files) for split, files in self.files.items()}

    def quarantined_of(self, source: str) -> int:
        return sum(self.quarantined.get(source, {}).values())


def check_accounts(report: TaskReport, primary: str, read: int) -> None:
    """Checks that every row read is an example, quarantined or dropped.

    Raises:
      ComponentError: The ETL lost or duplicated rows.
    """
    examples = sum(report.split_rows().values())
    quarantined, dropped = report.quarantined_of(primary), sum(report.dropped.values())
    if examples + quarantined + dropped != read:
        raise ComponentError(
            f"rows do not add up: {read:,} read from '{primary}', but {examples:,} examples + "
            f"{quarantined:,} quarantined + {dropped:,} dropped. Every row must leave the ETL once "
            "(see rows.py); an ETL that aggregates sets row_accounting: off"
        )


def check_sources(report: TaskReport, sources: Collection[str]) -> None:
    """Raises ComponentError when rejected rows name an unknown source."""
    for source in report.quarantined:
        if source not in sources:
            raise ComponentError(
                f"the ETL rejects rows of '{source}', but the sources are {', '.join(sources)}"
            )


def check_splits(report: TaskReport) -> None:
    """Raises ComponentError when a split has no row, on which later components would fail."""
    for split, rows in report.split_rows().items():
        if rows == 0:
            raise ComponentError(
                f"split '{split}' got no row; give it more hash buckets, more data, or a partition "
                "feature with more values. If splits are by time, look at its cuts and its unit: "
                "s, ms or us"
            )


def check_quarantine(report: TaskReport, read: Mapping[str, int], maximum: float) -> None:
    """Checks the rejected fraction of every source.

    Secondary sources count too: an unreadable row there may make a label wrong.

    Args:
      report: Report of the tasks.
      read: Source -> number of rows read.
      maximum: Largest fraction of rows that may be rejected, from 0 to 1.

    Raises:
      ComponentError: Too many rows of a source were rejected; the error gives the reasons.
    """
    for source, count in read.items():
        rows = report.quarantined_of(source)
        if rows > maximum * count:
            reasons = report.quarantined[source]
            named = ", ".join(f"{reason} {n:,}" for reason, n in reasons.items())
            raise ComponentError(
                f"{rows:,} of {count:,} rows ({rows / count:.1%}) of '{source}' are bad, more than "
                f"max_quarantine_fraction {maximum:.1%}: {named}. Fix the source, or raise the "
                "limit"
            )


def publish(
    staging: Path, report: TaskReport, manifest: dict[str, Any], examples: Path, quarantine: Path
) -> None:
    """Renames the reported shards, adds the manifest and publishes both artifacts.

    Shards move into folders that no task knows, so a losing attempt that still runs adds nothing.

    Args:
      staging: Staging folder; tasks wrote to its folder ATTEMPTS, where unreported files stay.
      report: Report of the successful tasks.
      manifest: Manifest without the list of shards.
      examples: Folder of the Examples artifact, missing or empty.
      quarantine: Folder of the QuarantinedRecords artifact. Its contents are replaced, because they
        are valid only beside examples.

    Raises:
      ComponentError: The examples folder is not empty.
      OSError: The disk is full.
    """
    check_not_published(examples)
    ready, rejected = staging / "examples", staging / "quarantine"
    splits = {}
    for split, files in report.files.items():
        names = [f"data_tfrecord-{n:05d}-of-{len(files):05d}.gz" for n in range(len(files))]
        written = [entry["file"] for entry in files]
        _move(staging / ATTEMPTS / split, written, ready / f"Split-{split}", names)
        splits[split] = [{**entry, "file": name} for entry, name in zip(files, names, strict=True)]
    kept = report.quarantine_files
    _move(staging / ATTEMPTS / shards.REJECTED, kept, rejected / RECORDS, kept)
    write_json(rejected / SUMMARY, report.quarantined, durable=True)
    write_json(ready / EXAMPLES_MANIFEST, {**manifest, "splits": splits}, durable=True)

    # The examples come last, because they make both artifacts valid. A rename replaces an empty
    # folder, such as the one that TFX makes for an artifact.
    if quarantine.exists():
        quarantine.rename(staging / "replaced")  # from a run that was killed between the renames
    quarantine.parent.mkdir(parents=True, exist_ok=True)
    move_durably(rejected, quarantine)
    move_durably(ready, examples)


def _move(source: Path, files: Sequence[str], target: Path, names: Sequence[str]) -> None:
    """Moves files, each under its new name, into a new folder."""
    target.mkdir(parents=True)
    for file, name in zip(files, names, strict=True):
        (source / file).rename(target / name)
    fsync_folder(target)


def check_not_published(examples: Path) -> None:
    """Raises ComponentError if the folder is not empty: published examples are never replaced."""
    if examples.exists() and any(examples.iterdir()):
        raise ComponentError(f"{examples} holds the result of another run, which is never replaced")


def published_manifest(examples: Path, description: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the manifest of the same run, if it was killed after publishing; None otherwise.

    Args:
      examples: Folder of the Examples artifact.
      description: Part of the manifest that identifies the run.
    """
    path = examples / EXAMPLES_MANIFEST
    if not path.exists():
        return None
    manifest: dict[str, Any] = json.loads(path.read_text("utf-8"))
    described = json.loads(json.dumps(description))  # JSON has no tuples
    if any(manifest.get(key) != value for key, value in described.items()):
        return None
    return {key: value for key, value in manifest.items() if key != "splits"}
