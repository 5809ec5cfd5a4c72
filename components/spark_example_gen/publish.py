"""From a staging folder to a published artifact: numbered shards, a manifest, one rename a split.

Until the rename nothing is visible under a name that a reader would open, and a reader of a split
folder finds data files only.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from components.errors import ComponentError
from components.spark_example_gen import shards

MANIFEST = "manifest.json"
STAGING = ".staging"


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
                source, _, reason = row.name.partition("/")
                quarantined.setdefault(source, Counter())[reason] += row.rows
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
    """Moves shards to their final names; afterwards the staging folder is gone."""
    splits = {}
    for split, files in report.files.items():
        folder = staging / split
        numbered = []
        for number, entry in enumerate(files):
            name = f"data_tfrecord-{number:05d}-of-{len(files):05d}.gz"
            (folder / entry["file"]).rename(folder / name)
            numbered.append({**entry, "file": name})
        _remove_all_but(folder, {entry["file"] for entry in numbered})
        splits[split] = numbered
    refused = staging / shards.QUARANTINE
    refused.mkdir(exist_ok=True)
    _remove_all_but(refused, set(report.quarantine_files))
    write_json(staging / MANIFEST, {**manifest, "splits": splits})

    quarantine.mkdir(parents=True, exist_ok=True)
    refused.rename(quarantine / "records")
    write_json(quarantine / "summary.json", report.quarantined)
    for split in splits:
        (staging / split).rename(examples / f"Split-{split}")
    (staging / MANIFEST).rename(examples / MANIFEST)
    _fsync_folder(examples)
    shutil.rmtree(staging)


def _remove_all_but(folder: Path, names: set[str]) -> None:
    """What is left are the files of task attempts that did not count."""
    for path in folder.iterdir():
        if path.name not in names:
            path.unlink()


def write_json(path: Path, content: Any) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=2, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
