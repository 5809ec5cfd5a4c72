"""Finds the files of an artifact, if they are on this machine."""

from __future__ import annotations

from pathlib import Path


def local_path(uri: str) -> Path | None:
    """Returns the path of a URI on a mounted file system; None for any other or an empty URI.

    A relative path is relative to the folder in which its pipeline ran.
    """
    path = uri.removeprefix("file://")
    return None if not path or "://" in path or "\0" in path else Path(path)


def is_folder(path: Path) -> bool:
    """Returns whether a folder exists and may be read."""
    try:
        return path.is_dir()
    except OSError:
        return False


def files_below(uri: str, pattern: str) -> list[Path]:
    """Returns the files of an artifact that match, sorted; empty if they are not accessible."""
    folder = local_path(uri)
    try:
        return sorted(folder.glob(pattern)) if folder else []
    except OSError:
        return []
