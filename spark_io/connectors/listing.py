"""Lists the files that match a pattern, folder by folder.

A library's glob would not do: it takes `[` or `*` in the base folder for a pattern, and leaves out
files and folders that it cannot read, which are errors here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from base.errors import ComponentError
from spark_io.sources.spans import SpanPattern, is_hidden

FILE, FOLDER, DANGLING, OTHER = "file", "folder", "dangling link", "neither file nor folder"
_COPYING = "._COPYING_"  # how Hadoop names a file while it is being copied; Spark skips it


@dataclasses.dataclass(frozen=True)
class Entry:
    """One name in a folder.

    Attributes:
      name: Name without the folder.
      kind: FILE, FOLDER, DANGLING or OTHER; for a link, the kind of its target.
    """

    name: str
    kind: str


def matching_files(
    pattern: SpanPattern, base: str, entries: Callable[[str], Iterable[Entry]]
) -> list[str]:
    """Returns the paths of the files that match, relative to the base, sorted.

    Names that begin with '_' or '.' are skipped, as Spark does.

    Args:
      pattern: Pattern of paths relative to the base.
      base: Base folder or URI, for errors.
      entries: Function that lists a folder, given relative to the base ('' is the base itself). The
        list of a missing folder is empty.

    Raises:
      ComponentError: The whole pattern matches a dangling link, a folder or a file that is still
        being copied, or `entries` cannot list a folder.
    """
    folders, (*upper, last) = [""], pattern.segments()
    for matches in upper:
        found = []
        for folder in folders:
            for entry in entries(folder):
                if entry.kind == FILE or is_hidden(entry.name) or not matches(entry.name):
                    continue
                path = _joined(folder, entry.name)
                if entry.kind != FOLDER:
                    raise _not_readable(path, entry.kind, base)
                found.append(path)
        folders = found
    files = []
    for folder in folders:
        for entry in entries(folder):
            if is_hidden(entry.name) or not _matches_file(last, entry.name):
                continue
            path = _joined(folder, entry.name)
            if entry.kind != FILE or entry.name.endswith(_COPYING):
                raise _not_readable(path, entry.kind, base)
            files.append(path)
    return sorted(files)


def _matches_file(last: Callable[[str], bool], name: str) -> bool:
    return last(name.removesuffix(_COPYING))


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _not_readable(path: str, kind: str, base: str) -> ComponentError:
    where = f"{base}/{path}"
    if kind == DANGLING:
        return ComponentError(
            f"{where} is a link to a file that does not exist; restore the file or remove the link"
        )
    if kind == FOLDER:
        return ComponentError(
            f"{where} is a folder, but `path` says that it is a file; add /* to `path`, or choose "
            "a pattern that does not match the folder"
        )
    if kind == FILE:
        return ComponentError(f"{where} is still being copied; run again when the copy is complete")
    return ComponentError(f"{where} is {kind}; remove it, or choose a pattern that leaves it out")
