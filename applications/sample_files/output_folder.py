"""Prepares the folder of a data set, and records whether it is complete."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from base.atomic_files import write_json

MANIFEST = "_manifest.json"


class OutputError(RuntimeError):
    """A folder cannot be written to; the text is one line that names the next step."""


@contextmanager
def readable_errors(out: Path) -> Iterator[None]:
    """Turns errors of the operating system into one-line OutputErrors."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            text = f"the disk that holds {out} is full; free some space or choose another --out"
        elif isinstance(error, PermissionError | NotADirectoryError | FileExistsError) or (
            error.errno == errno.EROFS
        ):
            text = f"cannot write to {out} ({error.strerror}); choose another --out"
        else:
            text = f"writing to {out} failed ({error}); try again or choose another --out"
        raise OutputError(text) from error


def read_manifest(out: Path) -> dict[str, Any] | None:
    """Returns the manifest in `out`; None if there is no readable one."""
    try:
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and "kind" in manifest else None


def write_manifest(out: Path, manifest: dict[str, Any]) -> None:
    """Writes the manifest; `complete: false` marks a folder that is still being written."""
    write_json(out / MANIFEST, manifest)


def begin(
    out: Path, description: dict[str, Any], names: Iterable[str], *, overwrite: bool
) -> dict[str, Any] | None:
    """Prepares `out` for a data set, unless it already holds this one.

    An earlier output is replaced. A folder with other files is an error unless `overwrite` is set,
    and even then only files and folders of the data set's names are removed.

    Args:
      out: Output folder; created if missing.
      description: Kind, format_version and config of the data set.
      names: Files and folders of the data set, without the manifest.
      overwrite: Whether to write into a folder that holds other files.

    Returns:
      The manifest if `out` holds exactly this data set, complete; otherwise None.

    Raises:
      OutputError: `out` holds other files or cannot be written to.
    """
    with readable_errors(out):
        old = read_manifest(out)
        if old is not None and old == {**old, **description, "complete": True}:
            return old
        if old is None and not overwrite and out.is_dir() and any(out.iterdir()):
            raise OutputError(
                f"{out} holds files that are not an earlier output; "
                "choose another --out, or add --overwrite"
            )
        out.mkdir(parents=True, exist_ok=True)
        # The manifest first, so that an interrupted run leaves a recognizable folder.
        write_manifest(out, {**description, "complete": False})
        for name in names:
            path = out / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    return None
