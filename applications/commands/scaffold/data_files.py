"""Finds out where a table is and how it is written: folder, pattern, format, separator, columns."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

from base.errors import ComponentError
from spark_io.connectors import codecs
from spark_io.connectors.csv_lines import common_header
from spark_io.connectors.local_files import LocalFiles
from spark_io.sources.source_types import FileSource
from spark_io.sources.spans import SpanPattern

_FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
}
_COMPRESSED = (".gz", ".bz2")
_SEPARATORS = {",": ",", ";": ";", "\t": "\\t", "|": "|"}  # character -> option of the reader
_WILDCARDS = set("*?")
_NO_PATH = set("[]{}\\")  # which a source's path takes for more than characters


@dataclasses.dataclass(frozen=True)
class DataFiles:
    """The files of a table.

    Attributes:
      root: Folder that `path` is relative to, as the user wrote it.
      path: Pattern of the files, as a source in a config has it.
      format: csv, json (one object per line) or parquet.
      options: Options of the reader.
      columns: Columns of a csv header; empty for other formats, where the data names them.
    """

    root: str
    path: str
    format: str
    options: dict[str, str] = dataclasses.field(default_factory=dict)
    columns: tuple[str, ...] = ()


def find_data_files(given: str, option: str = "--from") -> DataFiles:
    """Returns the files that a path stands for.

    Args:
      given: File, folder, or pattern with * and ?, on a local or mounted disk.
      option: Option of the command that names them, for errors.

    Raises:
      ComponentError: There are no such files, or their format or names cannot be used.
    """
    if "://" in given:
        raise ComponentError(
            f"{option} {given}: expected files on a local or mounted disk. For others, name them "
            "in the `sources` of a config"
        )
    root, path = _root_and_pattern(given, option)
    if set(path) & _NO_PATH:
        raise ComponentError(
            f"{option} {given}: a file name may not have one of {' '.join(sorted(_NO_PATH))}. They "
            "mean something in a source's path. Rename the file, or name its folder"
        )
    files = LocalFiles(root)
    found = files.matching(SpanPattern(path))
    if not found:
        raise ComponentError(f"{option} {given}: there are no such files")
    kind = _format_of(path, given, option)
    if kind == "parquet":
        return DataFiles(root, path, kind)
    codecs.check_names(option, found, local=True)
    codecs.check_contents(option, found, files)
    if kind == "json":
        return DataFiles(root, path, kind)
    return _csv(root, path, {file: files.first_line(file) for file in found}, option)


def _root_and_pattern(given: str, option: str) -> tuple[str, str]:
    target = Path(given)
    if target.is_dir():
        return str(target), _pattern_of_folder(target, option)
    if target.is_file():
        if _WILDCARDS & set(target.name):
            raise ComponentError(f"{option} {given}: rename the file, without * and ?")
        return str(target.parent), target.name
    parts = target.parts
    first = next((n for n, part in enumerate(parts) if _WILDCARDS & set(part)), None)
    if first is None:
        raise ComponentError(f"{option} {given}: there is no such file or folder")
    root = Path(*parts[:first]) if first else Path()
    if not root.is_dir():
        raise ComponentError(f"{option} {given}: there is no folder {root}")
    return str(root), "/".join(parts[first:])


def _pattern_of_folder(folder: Path, option: str) -> str:
    """Returns the pattern of the only kind of data file directly in a folder."""
    names = [entry.name for entry in folder.iterdir() if entry.is_file()]
    kinds = Counter(
        "".join(_suffixes(name))
        for name in names
        if not name.startswith((".", "_")) and _suffixes(name)[0] in _FORMATS
    )
    if len(kinds) != 1:
        have = ", ".join(f"{count} *{kind}" for kind, count in sorted(kinds.items())) or "none"
        raise ComponentError(
            f"{option} {folder}: expected files of one kind ({', '.join(_FORMATS)}, some with "
            f"{' or '.join(_COMPRESSED)}) directly in the folder. Found: {have}. Give a pattern, "
            "such as 'FOLDER/*.csv'"
        )
    return f"*{next(iter(kinds))}"


def _suffixes(name: str) -> tuple[str, str]:
    """Returns the suffixes of format and of compression, in lower case; "" for none."""
    path = Path(name)
    compressed = path.suffix.lower() if path.suffix.lower() in _COMPRESSED else ""
    inner = Path(path.stem) if compressed else path
    return inner.suffix.lower(), compressed


def _format_of(path: str, given: str, option: str) -> str:
    suffix = _suffixes(path.rpartition("/")[2])[0]
    if suffix not in _FORMATS:
        raise ComponentError(
            f"{option} {given}: expected a name that ends with {', '.join(_FORMATS)}, and with "
            f"{' or '.join(_COMPRESSED)} if it is compressed. Rename the files, or give a pattern "
            "that ends so"
        )
    return _FORMATS[suffix]


def _csv(root: str, path: str, first_lines: dict[str, str], option: str) -> DataFiles:
    """Returns csv files with the separator that is most frequent in the header."""
    lines = [line for line in first_lines.values() if line]
    if not lines:
        raise ComponentError(f"{option}: the files {path} in {root} are empty")
    separator = max(_SEPARATORS, key=lambda one: (lines[0].count(one), one == ","))
    options = {} if separator == "," else {"sep": _SEPARATORS[separator]}
    source = FileSource("csv", path, {"column": "string"}, options=options)
    return DataFiles(root, path, "csv", options, tuple(common_header(option, source, first_lines)))
