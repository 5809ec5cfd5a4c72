"""From a staging folder to a published artifact: numbered shards, a manifest, one rename.

Until the last rename nothing is visible under a name that a reader would open, after it everything
is; and a reader of a split folder finds data files only.
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
SUMMARY = "summary.json"  # of what was refused: source -> reason -> rows
RECORDS = "records"  # the folder of the rows that were refused
ATTEMPTS = "attempts"  # in the staging folder: where tasks write


@dataclasses.dataclass(frozen=True)
class TaskReport:
    """What the successful tasks wrote: the only source of counts, files and checksums."""

    files: dict[str, list[dict[str, Any]]]  # split -> [{file, rows, bytes, crc32c}]
    quarantine_files: tuple[str, ...]
    quarantined: dict[str, dict[str, int]]  # source -> reason -> rows
    dropped: dict[str, int]  # reason -> rows

    @classmethod
    def from_rows(cls, rows: Iterable[Any], splits: Iterable[str]) -> TaskReport:
        """Args: rows of `shards.REPORT_SCHEMA`, and the names of all splits."""
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
    """Every row read is an example, quarantined or dropped; else the ETL lost or doubled some.

    Raises:
      ComponentError: the sum is another one.
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
    """Raises ComponentError when rows are refused in the name of a source that there is not."""
    for source in report.quarantined:
        if source not in sources:
            raise ComponentError(
                f"the ETL refuses rows of '{source}', but the sources are {', '.join(sources)}"
            )


def check_splits(report: TaskReport) -> None:
    """Raises ComponentError when a split has no row: every component behind would fail on it."""
    for split, rows in report.split_rows().items():
        if rows == 0:
            raise ComponentError(
                f"split '{split}' got no row; give it more hash buckets, more data, or a partition "
                "feature with more values"
            )


def check_quarantine(report: TaskReport, read: Mapping[str, int], maximum: float) -> None:
    """Stops when too large a part of a source was refused: of any source, for what cannot be read
    of a secondary one may be a label that is wrong.

    Args:
      report: of the tasks.
      read: source -> rows read.
      maximum: largest fraction that may be refused.

    Raises:
      ComponentError: naming source and reasons.
    """
    for source, count in read.items():
        rows = report.quarantined_of(source)
        if rows > maximum * count:
            reasons = report.quarantined[source]
            named = ", ".join(f"{reason} {n:,}" for reason, n in reasons.items())
            raise ComponentError(
                f"{rows:,} of {count:,} rows ({rows / count:.1%}) of '{source}' are bad, more than "
                f"max_quarantine_fraction {maximum:.1%}: {named}. Mend the source, or raise the "
                "limit"
            )


def publish(
    staging: Path, report: TaskReport, manifest: dict[str, Any], examples: Path, quarantine: Path
) -> None:
    """Gives the shards that count their final names, adds the manifest, makes all visible at once.

    They move into folders that no task knows: an attempt that lost, and writes on, adds nothing.

    Args:
      staging: the tasks wrote into its folder ATTEMPTS; what did not count stays there.
      report: of the tasks that counted.
      manifest: what it says beside the shards.
      examples: the artifact's folder; not there, or empty.
      quarantine: the other artifact's folder; what it holds is replaced, for it counts only beside
        examples.

    Raises:
      ComponentError: something lies in the folder of the examples.
      OSError: a full disk.
    """
    check_not_published(examples)
    ready, refused = staging / "examples", staging / "quarantine"
    splits = {}
    for split, files in report.files.items():
        names = [f"data_tfrecord-{n:05d}-of-{len(files):05d}.gz" for n in range(len(files))]
        written = [entry["file"] for entry in files]
        _move(staging / ATTEMPTS / split, written, ready / f"Split-{split}", names)
        splits[split] = [{**entry, "file": name} for entry, name in zip(files, names, strict=True)]
    kept = report.quarantine_files
    _move(staging / ATTEMPTS / shards.REFUSED, kept, refused / RECORDS, kept)
    write_json(refused / SUMMARY, report.quarantined, durable=True)
    write_json(ready / EXAMPLES_MANIFEST, {**manifest, "splits": splits}, durable=True)

    # Two renames: what was refused, then the examples, which make both count. A rename replaces an
    # empty folder, which is what TFX has made for the artifact.
    if quarantine.exists():
        quarantine.rename(staging / "replaced")  # of a run that was killed between the two
    quarantine.parent.mkdir(parents=True, exist_ok=True)
    move_durably(refused, quarantine)
    move_durably(ready, examples)


def _move(source: Path, files: Sequence[str], target: Path, names: Sequence[str]) -> None:
    """Moves files, each under its new name, into a new folder."""
    target.mkdir(parents=True)
    for file, name in zip(files, names, strict=True):
        (source / file).rename(target / name)
    fsync_folder(target)


def check_not_published(examples: Path) -> None:
    """Raises ComponentError if something is there: what is published is never replaced."""
    if examples.exists() and any(examples.iterdir()):
        raise ComponentError(f"{examples} holds the result of another run, which is kept as it is")


def published(examples: Path, description: Mapping[str, Any]) -> dict[str, Any] | None:
    """The manifest, if the same run has published already and was killed before it could say so.

    Args:
      examples: the artifact's folder.
      description: part of the manifest; it must be the same there.
    """
    path = examples / EXAMPLES_MANIFEST
    if not path.exists():
        return None
    manifest: dict[str, Any] = json.loads(path.read_text("utf-8"))
    described = json.loads(json.dumps(description))  # JSON knows no tuples
    if any(manifest.get(key) != value for key, value in described.items()):
        return None
    return {key: value for key, value in manifest.items() if key != "splits"}
