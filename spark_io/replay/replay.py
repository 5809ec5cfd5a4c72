"""Feeds repaired rows back: a new version of the spans that they were refused in.

    export   the refused rows of a source, to repair
    plan     where each repaired row was read, what the next version of its span is
    apply    writes those versions

Files that were read are never changed. A quarantined record is the text of its line, so its place
is found by looking for that text in the files that the run read: oldest span first, files by name,
lines in order. The same text in two places is replaced as often as it was repaired.
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
from spark_io.replay.finished_run import FinishedRun, Refused
from spark_io.replay.next_version import (
    MARKER,
    NextVersion,
    Version,
    next_folder,
    repaired_file,
    write,
)
from spark_io.replay.repaired_rows import Repair, Repairs, read_rows, write_rows
from spark_io.replay.replayable import ReplaySource, source_of
from spark_io.replay.text_lines import is_row, lines_of
from spark_io.sources.column_names import LINE

Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True)
class Replay:
    """Attributes:
    source: that is repaired.
    repairs: the rows.
    versions: to write, or written by an earlier call with the same rows; oldest span first.
    refused: how many of the source's rows were refused.
    """

    source: ReplaySource
    repairs: Repairs
    versions: list[NextVersion]
    refused: int

    def missing(self) -> list[NextVersion]:
        """The versions that are not there yet."""
        return [v for v in self.versions if not v.is_there(self.source.base)]


def refused_rows(run: FinishedRun, name: str, reasons: Collection[str] = ()) -> list[Refused]:
    """The rows of a source that were refused.

    Args:
      run: that refused them.
      name: of the source.
      reasons: only these; empty: all.

    Raises:
      ComponentError: there is none.
    """
    counts = run.counts.get(name, {})
    if not counts:
        raise ComponentError(f"no row of '{name}' was refused in this run; nothing to replay")
    for reason in reasons:
        if reason not in counts:
            raise ComponentError(
                f"no row of '{name}' was refused for '{reason}'; reasons: {', '.join(counts)}"
            )
    return [
        row
        for row in run.refused()
        if row.source == name and (not reasons or row.reason in reasons)
    ]


def export(
    run: FinishedRun, name: str, reasons: Collection[str], out: Path, force: bool = False
) -> tuple[int, int]:
    """Writes refused rows to a file in which they can be repaired.

    Returns:
      (rows written, rows that cannot be repaired: their text was not kept).

    Raises:
      ComponentError: the file is there (unless `force`), no row, or what `source_of` raises.
    """
    source_of(run, name)
    if out.exists() and not force:
        raise ComponentError(f"{out} is there already; choose another --out, or --force")
    rows = refused_rows(run, name, reasons)
    texts = [row for row in rows if row.record is not None]
    write_rows(out, texts)
    return len(texts), len(rows) - len(texts)


def plan(run: FinishedRun, name: str, rows: Path) -> Replay:
    """What there is to write; writes nothing.

    Args:
      run: whose rows were exported.
      name: of the source.
      rows: the file of repaired rows.

    Raises:
      ComponentError: a line that cannot be used, no edited line, files that are not as the run read
        them, a row that is in none of them, or a newer version than the run read.
    """
    source = source_of(run, name)
    refused = refused_rows(run, name)
    repairs = read_rows(rows, Counter(row.record for row in refused if row.record is not None))
    if not repairs.rows:
        raise ComponentError(f"no row of {rows} was edited; mend some `record`s first")
    _check_unchanged(source)
    found = _look_for(source, repairs)
    versions = [
        _next_version(source, version, found, run.manifest["input_fingerprint"])
        for version in source.versions()
        if any(found.places.get(file) for file in version.files)
    ]
    _check_newest(source, versions)
    return Replay(source, repairs, versions, len(refused))


def _check_unchanged(source: ReplaySource) -> None:
    if not source.base.is_dir():
        raise ComponentError(
            f"the folder {source.base}, which the run read, does not exist; a relative path is "
            "meant from the folder that the pipeline ran in"
        )
    files = LocalFiles(str(source.base))
    for file in _progress(source.facts["files"], "comparing files"):
        if not (source.base / file["path"]).is_file():
            raise ComponentError(f"{source.base / file['path']}, which the run read, is gone")
        if files.describe(file["path"]) != file:
            raise ComponentError(
                f"{source.base / file['path']} was changed since the run read it; run the pipeline "
                "again, and replay what that run refuses"
            )


@dataclasses.dataclass
class _Found:
    """Attributes:
    rows: file -> rows in it.
    places: file -> the repairs of its rows, in order.
    """

    rows: dict[str, int]
    places: dict[str, list[Repair]]


def _look_for(source: ReplaySource, repairs: Repairs) -> _Found:
    """Reads the files, and gives each repair to the first row that has its text and no repair yet.

    Raises:
      ComponentError: a repair without such a row, or files with more or fewer rows than the run
        read.
    """
    waiting: dict[str, deque[Repair]] = {}
    for repair in repairs.rows:
        waiting.setdefault(repair.refused, deque()).append(repair)
    found = _Found({}, {})
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
            f"{first.refused[:200]!r}. The ETL has to carry the column {LINE} to the rows that it "
            "refuses, or their text is not that of the file"
        )
    if sum(found.rows.values()) != source.facts["rows_read"]:
        raise ComponentError(
            f"source '{source.name}': its files hold {sum(found.rows.values()):,} rows, but the "
            f"run read {source.facts['rows_read']:,}; run the pipeline again, and replay that run"
        )
    return found


def _next_version(
    source: ReplaySource, version: Version, found: _Found, fingerprint: str
) -> NextVersion:
    places = {file: found.places[file] for file in version.files if found.places[file]}
    repairs = [repair for file in version.files for repair in found.places[file]]
    pairs = json.dumps([[repair.refused, repair.record] for repair in repairs])
    folder = next_folder(source.pattern, version)
    return NextVersion(
        old=version,
        folder=folder,
        repaired_file=repaired_file(source.pattern, version, folder, next(iter(places))),
        rows={file: found.rows[file] for file in version.files},
        removed={file: Counter(r.refused for r in repairs) for file, repairs in places.items()},
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
    """What lies there now is what the run read, or what an earlier call made of it."""
    pattern = source.pattern
    there = pattern.find(LocalFiles(str(source.base)).matching(pattern))
    for version in versions:
        old, span = version.old, pattern.describe(version.old.span)
        if set(there[old.span][old.number]) != set(old.files):
            raise ComponentError(
                f"{source.base / old.folder} holds files that the run did not read; run the "
                "pipeline again, and replay what that run refuses"
            )
        if version.is_there(source.base):
            continue
        newest = max(number for number in there[old.span] if number is not None)
        target = source.base / version.folder
        if newest > old.number or (target.is_dir() and any(target.iterdir())):
            replayed = (target / MARKER).exists()
            raise ComponentError(
                f"source '{source.name}': {span} has version {max(newest, version.number)} already"
                f"{', from an earlier replay' * replayed}, and the run read version {old.number}; "
                "run the pipeline again, and replay what that run refuses"
            )


def apply(replay: Replay) -> None:
    """Writes the versions that are not there yet, each by one rename.

    Killed in between it leaves whole versions; the same call then writes the others.

    Raises:
      ComponentError, OSError: see `next_version.write`.
    """
    for version in replay.missing():
        write(replay.source.base, version)
    for version in replay.versions:
        # What a call left that was killed after the rename.
        remove_abandoned((replay.source.base / version.folder).parent)


def _progress(items: Sequence[Item], what: str) -> Iterator[Item]:
    console = PlainConsole(stderr=True)
    yield from track(items, what, console=console, transient=True, disable=not console.is_terminal)
