"""Where the files of an artifact are, if they are on this machine."""

from __future__ import annotations

from pathlib import Path


def local_path(uri: str) -> Path | None:
    """Returns the path of a URI on a mounted file system; None for any other, and for none at all.

    A relative one is relative to the folder that its pipeline ran in, which may be another.
    """
    path = uri.removeprefix("file://")
    return None if not path or "://" in path or "\0" in path else Path(path)


def is_folder(path: Path) -> bool:
    """Returns whether a folder is there; one that may not be looked into is not there for us."""
    try:
        return path.is_dir()
    except OSError:
        return False


def files_below(uri: str, pattern: str) -> list[Path]:
    """Returns the files of an artifact that match, sorted; none if nobody can look here."""
    folder = local_path(uri)
    try:
        return sorted(folder.glob(pattern)) if folder else []
    except OSError:
        return []
