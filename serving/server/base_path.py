"""Base paths of models: which are local folders, and which versions they hold."""

from __future__ import annotations

import re
from pathlib import Path

# One slash is enough: pathlib makes "gs:/bucket" of "gs://bucket".
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")
# What absl::SimpleAtoi reads as a number that is not negative.
_NUMBER = re.compile(r"[ \t\n\v\f\r]*\+?[0-9]+[ \t\n\v\f\r]*")
_MOST_DIGITS = 100  # Python refuses to read some thousands
_MOST = (1 << 63) - 1


def local_path(text: str | Path) -> Path:
    """Returns the folder or file that a path or a file:/// URI names.

    Args:
      text: The path as it was written.

    Raises:
      ValueError: It is a URI of another place, which must not be taken for a local folder.
    """
    written = str(text)
    found = _URI.match(written)
    if found is None:
        return Path(written)
    if found[1].lower() == "file" and written[found.end() - 1 :].startswith("///"):
        return Path("/" + written[found.end() :].lstrip("/"))
    raise ValueError(
        "a path must be on this machine: copy or mount it, and name the local path or file:///... "
        f"Received: {written}"
    )


def version_folders(base: Path) -> dict[int, str]:
    """Returns the versions below `base`, ascending: number -> name of its folder.

    A name may have leading zeros. Of two folders with one number, the last by name counts, as in
    TensorFlow Serving's file_system_storage_path_source.cc (IndexChildrenByVersion), except that
    the name without zeros always wins: Serving itself looks for that one first where a config asks
    for the number.

    Raises:
      OSError: The folder is there and cannot be listed.
    """
    if not base.is_dir():
        return {}
    found: dict[int, str] = {}
    for path in sorted(base.iterdir(), key=lambda path: path.name):
        number = _number(path.name)
        if number is None or not path.is_dir():
            continue
        if found.get(number) != str(number):
            found[number] = path.name
    return dict(sorted(found.items()))


def _number(name: str) -> int | None:
    if len(name) > _MOST_DIGITS or not _NUMBER.fullmatch(name):
        return None
    number = int(name)
    return number if number <= _MOST else None
