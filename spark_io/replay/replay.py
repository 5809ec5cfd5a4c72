"""Writes repaired rows into a new version of the spans that they were rejected in.

    export   writes the rejected rows of a source to a file
    plan     finds each repaired row in the files, and plans the next version of its span
    apply    writes those versions

Files that a run read are never changed. A quarantined record is the text of its line, so the row
is found by searching the files of the run for that text: oldest span first, then by file name and
line. A text that occurs several times is replaced as often as it was repaired.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from rich.progress import track

from base.console import PlainConsole
from base.errors import ComponentError
from spark_io.connectors.local_files import LocalFiles
from spark_io.publishing.staging import remove_abandoned
from spark_io.replay.finished_run import FinishedRun, RejectedRow
from spark_io.replay.next_version import (
    MARKER,
    NextVersion,
    Version,
    next_folder,
    repaired_file,
    write,
)
from spark_io.replay.repaired_rows import Repair, Repairs, read_rows, write_rows
from spark_io.replay.replayable import ReplaySource, replayable_source
from spark_io.replay.text_lines import is_row, lines_of
from spark_io.sources.column_names import LINE

Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True)
class Replay:
    """A planned replay of one source.

    Attributes:
      source: Source whose rows were repaired.
      repairs: Repaired rows.
      versions: Versions that the repairs need, oldest span first. An earlier call with the same
        rows may have written some of them.
      rejected: Number of the source's rows that the run rejected.
    """

    source: ReplaySource
    repairs: Repairs
    versions: list[NextVersion]
    rejected: int

    def missing(self) -> list[NextVersion]:
        """Returns the versions that are not written yet."""
        return [v for v in self.versions if not v.is_written(self.source.base)]


def rejected_rows(run: FinishedRun, name: str, reasons: Collection[str] = ()) -> list[RejectedRow]:
    """Returns the rejected rows of a source.

    Args:
      run: Run that rejected them.
      name: Name of the source.
      reasons: Reason codes to select; empty for all.

    Raises:
      ComponentError: The run rejected no such row.
    """
    counts = run.counts.get(name, {})
    if not counts:
        raise ComponentError(f"no row of '{name}' was rejected in this run; nothing to replay")
    for reason in reasons:
        if reason not in counts:
            raise ComponentError(
                f"no row of '{name}' was rejected for '{reason}'; reasons: {', '.join(counts)}"
            )
    return [
        row
        for row in run.rejected()
        if row.source == name and (not reasons or row.reason in reasons)
    ]


def export(
    run: FinishedRun, name: str, reasons: Collection[str], out: Path, force: bool = False
) -> tuple[int, int]:
    """Writes rejected rows to a file in which they can be repaired.

    Returns:
      Number of rows written, and number of rows that cannot be repaired because their text was not
      kept.

    Raises:
      ComponentError: The file exists (unless `force`), the run rejected no such row, or the source
        cannot be replayed.
    """
    replayable_source(run, name)
    if out.exists() and not force:
        raise ComponentError(f"{out} exists already; choose another --out, or add --force")
    rows = rejected_rows(run, name, reasons)
    texts = [row for row in rows if row.record is not None]
    write_rows(out, texts)
    return len(texts), len(rows) - len(texts)


def plan(run: FinishedRun, name: str, rows: Path) -> Replay:
    """Plans the versions to write, and writes nothing.

    Args:
      run: Run whose rows were exported.
      name: Name of the source.
      rows: Path of the file of repaired rows.

    Raises:
      ComponentError: A line cannot be used, no line was edited, a file changed since the run read
        it, a row is in none of the files, or there is a newer version than the run read.
    """
    source = replayable_source(run, name)
    rejected = rejected_rows(run, name)
    repairs = read_rows(rows, Counter(row.record for row in rejected if row.record is not None))
    if not repairs.rows:
        raise ComponentError(f"no row of {rows} was edited; repair at least one `record`")
    _check_unchanged(source)
    found = _look_for(source, repairs)
    versions = [
        _next_version(source, version, found, run.manifest["input_fingerprint"])
        for version in source.versions()
        if any(found.places.get(file) for file in version.files)
    ]
    _check_newest(source, versions)
    return Replay(source, repairs, versions, len(rejected))


def _check_unchanged(source: ReplaySource) -> None:
    if not source.base.is_dir():
        raise ComponentError(
            f"the folder {source.base}, which the run read, does not exist; run the command in the "
            "folder that the pipeline ran in if the path is relative"
        )
    files = LocalFiles(str(source.base))
    for file in _progress(source.facts["files"], "comparing files"):
        if not (source.base / file["path"]).is_file():
            raise ComponentError(
                f"{source.base / file['path']}, which the run read, does not exist"
            )
        if files.describe(file["path"]) != file:
            raise ComponentError(
                f"{source.base / file['path']} changed since the run read it; run the pipeline "
                "again, and replay the rows that it rejects"
            )


@dataclasses.dataclass
class _RowPlaces:
    """The repaired rows in the files of a run.

    Attributes:
      rows: File -> number of rows.
      places: File -> repairs of its rows, in the order of its lines.
    """

    rows: dict[str, int]
    places: dict[str, list[Repair]]


def _look_for(source: ReplaySource, repairs: Repairs) -> _RowPlaces:
    """Assigns each repair to the first row with its text that has no repair yet.

    Raises:
      ComponentError: A repair has no such row, or the number of rows differs from the run's.
    """
    waiting: dict[str, deque[Repair]] = {}
    for repair in repairs.rows:
        waiting.setdefault(repair.original, deque()).append(repair)
    found = _RowPlaces({}, {})
    paths = [file for version in source.versions() for file in version.files]
    for path in _progress(paths, "looking for the rows"):
        rows, places = 0, []
        for text, _ in lines_of(source.base / path):
            if is_row(text):
                rows += 1
                if waiting.get(text):
                    places.append(waiting[text].popleft())
        found.rows[path], found.places[path] = rows, places
    if left := [repair for queue in waiting.values() for repair in queue]:
        first = min(left, key=lambda repair: repair.line)
        raise ComponentError(
            f"{repairs.path}, line {first.line}: no file that the run read holds this row: "
            f"{first.original[:200]!r}. The ETL must keep the column {LINE} in the rows that it "
            "rejects"
        )
    if sum(found.rows.values()) != source.facts["rows_read"]:
        raise ComponentError(
            f"source '{source.name}': its files hold {sum(found.rows.values()):,} rows, but the "
            f"run read {source.facts['rows_read']:,}; run the pipeline again, and replay that run"
        )
    return found


def _next_version(
    source: ReplaySource, version: Version, found: _RowPlaces, fingerprint: str
) -> NextVersion:
    places = {file: found.places[file] for file in version.files if found.places[file]}
    repairs = [repair for file in version.files for repair in found.places[file]]
    pairs = json.dumps([[repair.original, repair.record] for repair in repairs])
    folder = next_folder(source.pattern, version)
    return NextVersion(
        old=version,
        folder=folder,
        repaired_file=repaired_file(source.pattern, version, folder, next(iter(places))),
        rows={file: found.rows[file] for file in version.files},
        removed={file: Counter(r.original for r in repairs) for file, repairs in places.items()},
        repaired=tuple(repair.record for repair in repairs),
        facts={
            "source": source.name,
            "input_fingerprint": fingerprint,
            "version_before": version.number,
            "repaired": len(repairs),
            "repaired_sha256": hashlib.sha256(pairs.encode()).hexdigest(),
        },
    )


def _check_newest(source: ReplaySource, versions: list[NextVersion]) -> None:
    """Raises ComponentError if a span has changed since the run, other than by this replay."""
    pattern = source.pattern
    there = pattern.find(LocalFiles(str(source.base)).matching(pattern))
    for version in versions:
        old, span = version.old, pattern.describe(version.old.span)
        if set(there[old.span][old.number]) != set(old.files):
            raise ComponentError(
                f"{source.base / old.folder} holds files that the run did not read; run the "
                "pipeline again, and replay the rows that it rejects"
            )
        if version.is_written(source.base):
            continue
        newest = max(number for number in there[old.span] if number is not None)
        target = source.base / version.folder
        if newest > old.number or (target.is_dir() and any(target.iterdir())):
            replayed = (target / MARKER).exists()
            raise ComponentError(
                f"source '{source.name}': {span} has version {max(newest, version.number)} already"
                f"{', from an earlier replay' * replayed}, and the run read version {old.number}; "
                "run the pipeline again, and replay the rows that it rejects"
            )


def apply(replay: Replay) -> None:
    """Writes the missing versions, each by one rename.

    A killed call leaves only whole versions; the next call writes the others.

    Raises:
      ComponentError, OSError: See `next_version.write`.
    """
    for version in replay.missing():
        write(replay.source.base, version)
    for version in replay.versions:
        # Left by a call that was killed after the rename.
        remove_abandoned((replay.source.base / version.folder).parent)


def _progress(items: Sequence[Item], what: str) -> Iterator[Item]:
    console = PlainConsole(stderr=True)
    yield from track(items, what, console=console, transient=True, disable=not console.is_terminal)
