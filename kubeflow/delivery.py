"""Checks that an artifact arrived as it was sent, through the bucket of Kubeflow's launcher.

A retried step uploads over the files of its first try. A file of the first try may remain among
those of the second, and its rows would count twice. This module uses only the standard library, as
step.py requires.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

FILES = "delivered_files"  # in the metadata of an artifact


def listing(path: Path) -> str:
    """Describes a file or folder by count, bytes, and a hash of names and sizes.

    Empty folders are ignored, because a bucket has none.
    """
    files = sorted(one for one in (path, *path.rglob("*")) if one.is_file())
    sizes = [one.stat().st_size for one in files]
    names = [one.relative_to(path).as_posix() for one in files]
    digest = hashlib.sha256(repr(list(zip(names, sizes, strict=True))).encode()).hexdigest()[:16]
    return f"{len(files)} files, {sum(sizes)} bytes, {digest}"


def check_delivered(key: str, path: Path, sent: str) -> None:
    """Compares an input with the listing of the step that made it.

    Args:
      key: Name of the input, for the message.
      path: Path to which Kubeflow's launcher downloaded it.
      sent: `listing` of the step that made it.

    Raises:
      ValueError: A file is missing, additional, or of another size.
    """
    found = listing(path)
    if found != sent:
        raise ValueError(
            f"the input {key} is not what the step before gave: {found} arrived, {sent} were "
            "sent. A step that was tried again leaves files of its first try in the bucket; start "
            "a new run"
        )
