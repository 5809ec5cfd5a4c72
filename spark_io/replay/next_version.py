"""Writes the next version of one span of a source of text files, by one rename.

The new version holds everything in the folder of the previous version except the replaced rows.
Their repaired forms are in a file of their own that the source's pattern matches.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from base.atomic_files import fsync_folder, move_durably, write_json
from base.errors import ComponentError
from spark_io.publishing.staging import staging_folder
from spark_io.replay.text_lines import is_row, lines_of, new_text_file
from spark_io.sources.spans import SpanPattern

MARKER = ".replay.json"  # hidden, so no source reads it and no fingerprint includes it


@dataclasses.dataclass(frozen=True)
class Version:
    """A version of a span, as a run read it.

    Attributes:
      span: Number of the span.
      number: Number of the version.
      folder: Folder of this version of this span alone, relative to the input base.
      files: Files that the run read, relative to the input base.
    """

    span: int
    number: int
    folder: str
    files: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class NextVersion:
    """A version to write.

    Attributes:
      old: Previous version.
      folder: Folder of the new version, relative to the input base.
      repaired_file: File for the repaired rows, relative to `folder`.
      rows: File of the old version -> number of rows.
      removed: File of the old version -> texts to remove, with their counts.
      repaired: Repaired texts.
      facts: Contents of MARKER, which record the origin of this version.
    """

    old: Version
    folder: str
    repaired_file: str
    rows: dict[str, int]
    removed: dict[str, Counter[str]]
    repaired: tuple[str, ...]
    facts: dict[str, Any]

    @property
    def number(self) -> int:
        return self.old.number + 1

    @property
    def kept(self) -> int:
        return sum(self.rows.values()) - len(self.repaired)

    def is_written(self, base: Path) -> bool:
        """Returns whether an earlier call wrote this same version."""
        marker = base / self.folder / MARKER
        return marker.is_file() and json.loads(marker.read_text("utf-8")) == self.facts


def check_pattern(name: str, path: str) -> SpanPattern:
    """Checks that each version of a span has a folder of its own, and returns the pattern.

    Raises:
      ComponentError: The pattern has no {VERSION}, or has it in a file name or several folders.
    """
    if "{VERSION" not in path:
        raise ComponentError(
            f"source '{name}': {path} has no {{VERSION}}, and replay never changes files that were "
            "read; put it into the path, as in day/v{VERSION}/*.json, or fix the files by hand and "
            "run again"
        )
    *folders, file = path.split("/")
    if "{" in file or "/".join(folders).count("{VERSION") > 1:
        raise ComponentError(
            f"source '{name}': {path} needs its span and {{VERSION}} once in the names of folders, "
            "not of files, because one folder is renamed to publish a version. Move the files, or "
            "write the next version by hand"
        )
    return SpanPattern(path)


def versions_read(name: str, pattern: SpanPattern, paths: Iterable[str]) -> list[Version]:
    """Returns the versions that a run's files belong to, oldest span first.

    Raises:
      ComponentError: The files of a version are in several folders.
    """
    depth = 1 + max(n for n, part in enumerate(pattern.pattern.split("/")) if "{" in part)
    versions = []
    for span, numbers in sorted(pattern.find(paths).items()):
        ((number, files),) = numbers.items()
        assert number is not None
        folders = {"/".join(file.split("/")[:depth]) for file in files}
        if len(folders) > 1:
            raise ComponentError(
                f"source '{name}': {pattern.describe(span)}, version {number} lies in several "
                f"folders ({', '.join(sorted(folders)[:3])}), which no single rename can make "
                "visible; write the next version by hand"
            )
        versions.append(Version(span, number, folders.pop(), tuple(files)))
    return versions


def next_folder(pattern: SpanPattern, version: Version) -> str:
    """Returns the folder of the span's next version.

    Raises:
      ComponentError: The pattern has no name for it ({VERSION:1} after 9).
    """
    parts = version.folder.split("/")
    place = next(n for n, part in enumerate(pattern.pattern.split("/")) if "{VERSION" in part)
    below = version.files[0].removeprefix(version.folder)
    # The pattern decides which number in the folder's name is the version.
    for digits in reversed(list(re.finditer(r"\d+", parts[place]))):
        number = str(version.number + 1).zfill(len(digits.group()))
        renamed = parts[place][: digits.start()] + number + parts[place][digits.end() :]
        folder = "/".join((*parts[:place], renamed, *parts[place + 1 :]))
        if int(digits.group()) == version.number and _is(pattern, folder + below, version):
            return folder
    raise ComponentError(
        f"{pattern.pattern} has no name for a version after {version.folder}; write it by hand"
    )


def repaired_file(pattern: SpanPattern, version: Version, folder: str, beside: str) -> str:
    """Returns a file name for the repaired rows that the source's pattern matches.

    The name is relative to `folder`. A pattern without a wildcard (data.json) leaves only `beside`.

    Args:
      pattern: Path pattern of the source.
      version: Previous version.
      folder: Folder of the new version, relative to the input base.
      beside: File of the old version that held the first of the rows.

    Raises:
      ComponentError: The pattern matches no such name.
    """
    place, _, file = beside.removeprefix(f"{version.folder}/").rpartition("/")
    last = pattern.pattern.split("/")[-1]
    name = file
    if "*" in last:
        name = last.replace("*", f"repaired-{version.number + 1}", 1)
        name = name.replace("*", "").replace("?", "0")
        if last.endswith("*"):
            packed = file.endswith((".gz", ".bz2"))
            name = name.rstrip(".") + "".join(Path(file).suffixes[-2 if packed else -1 :])
    found = f"{place}/{name}".lstrip("/")
    taken = f"{version.folder}/{found}" in version.files and name != file
    if taken or not _is(pattern, f"{folder}/{found}", version):
        raise ComponentError(
            f"{pattern.pattern} leaves no name for the file of repaired rows. Tried: {found}"
        )
    return found


def _is(pattern: SpanPattern, path: str, version: Version) -> bool:
    """Returns whether a source would read this file as part of the next version."""
    try:
        return pattern.find([path]) == {version.span: {version.number + 1: [path]}}
    except ComponentError:
        return False  # the path does not fit the pattern


def write(base: Path, version: NextVersion) -> None:
    """Writes the version to a hidden folder, and renames that folder at the end.

    Raises:
      ComponentError: A file changed since the run read it, or the new folder exists.
      OSError: The disk is full, or there is no permission.
    """
    target = base / version.folder
    with staging_folder(target) as staging:
        ready = staging / "version"
        _fill(base / version.old.folder, ready, version)
        write_json(ready / MARKER, version.facts, durable=True)
        for folder, _, _ in os.walk(ready):
            fsync_folder(Path(folder))
        try:
            move_durably(ready, target)
        except OSError as error:
            raise ComponentError(f"cannot make {target}: {error.strerror}") from error
        # The folder above may be new as well (v2/span-7).
        fsync_folder(target.parent.parent)


def _fill(old: Path, new: Path, version: NextVersion) -> None:
    """Fills a new folder with the contents of the old one, with rows replaced."""
    new.mkdir()
    shutil.copymode(old, new)
    removed = {
        path.removeprefix(f"{version.old.folder}/"): texts
        for path, texts in version.removed.items()
    }
    repaired = [text.encode() + b"\n" for text in version.repaired]
    for file in _files(old):
        (new / file).parent.mkdir(parents=True, exist_ok=True)
        if file not in removed:
            _link(old / file, new / file)
            continue
        rows = version.rows[f"{version.old.folder}/{file}"]
        kept = _without(old / file, removed[file], rows)
        _write_lines(new / file, kept, repaired if file == version.repaired_file else ())
        shutil.copymode(old / file, new / file)
    if version.repaired_file not in removed:
        _write_lines(new / version.repaired_file, (), repaired)


def _files(folder: Path) -> Iterator[str]:
    """Yields the relative paths of all visible files.

    An older MARKER stays behind, and so do Hadoop's checksums (.NAME.crc): Hadoop would reject the
    rewritten files by them.
    """
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield (Path(place) / name).relative_to(folder).as_posix()


def _link(old: Path, new: Path) -> None:
    """Links a file under a second name, or copies it where the file system allows no links.

    A link is safe because the files of a version never change.
    """
    try:
        os.link(old.resolve(), new)
    except OSError:
        shutil.copy2(old, new)
        with new.open("rb") as file:
            os.fsync(file.fileno())


def _without(path: Path, texts: Counter[str], rows: int) -> Iterator[bytes]:
    """Yields the lines of a file without the first occurrences of some texts.

    Args:
      path: Path of the file.
      texts: Texts to leave out, with their counts.
      rows: Number of rows in the file.

    Raises:
      ComponentError: The file holds other rows.
    """
    left, seen = texts.copy(), 0
    for text, line in lines_of(path):
        seen += is_row(text)
        if left[text] > 0:
            left[text] -= 1
        else:
            yield line
    if +left or seen != rows:
        raise ComponentError(f"{path} changed while it was being read; run the command again")


def _write_lines(path: Path, lines: Iterable[bytes], more: Sequence[bytes]) -> None:
    last = b"\n"
    with new_text_file(path) as file:
        for line in lines:
            file.write(line)
            last = line
        if more and not last.endswith((b"\n", b"\r")):
            file.write(b"\n")
        file.writelines(more)
