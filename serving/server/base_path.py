"""Resolves the base paths of models and lists the versions in them."""

from __future__ import annotations

import re
from pathlib import Path

# One slash is enough, because pathlib turns "gs://bucket" into "gs:/bucket".
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")
# Numbers that absl::SimpleAtoi accepts, without negative ones.
_NUMBER = re.compile(r"[ \t\n\v\f\r]*\+?[0-9]+[ \t\n\v\f\r]*")
_MAX_DIGITS = 100  # Python does not parse thousands of digits
_MAX_VERSION = (1 << 63) - 1


def local_path(text: str | Path) -> Path:
    """Returns the folder or file that a path or a file:/// URI names.

    Args:
      text: Path or URI.

    Raises:
      ValueError: It is a URI of a remote location.
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
    """Returns the folder name of each version below `base`, ascending by version.

    A name may have leading zeros. If two folders have the same number, the last one by name counts,
    as in TensorFlow Serving's file_system_storage_path_source.cc (IndexChildrenByVersion). However,
    a name without zeros always wins, because TensorFlow Serving looks for it first if a config asks
    for the number.

    Raises:
      OSError: The folder exists but cannot be listed.
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
    if len(name) > _MAX_DIGITS or not _NUMBER.fullmatch(name):
        return None
    number = int(name)
    return number if number <= _MAX_VERSION else None
