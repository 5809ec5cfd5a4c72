"""Whether an artifact arrived as it was sent: Kubeflow's launcher copies it to a bucket and back.

A step that is tried again uploads over what its first try had uploaded by then, so a file of the
first may stay among those of the second: rows that count twice. Standard library only, for step.py.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

FILES = "delivered_files"  # in the metadata of an artifact


def listing(path: Path) -> str:
    """What lies at a path, a folder or a file: count, bytes, and a hash of names and sizes.

    Empty folders do not count: a bucket has none.
    """
    files = sorted(one for one in (path, *path.rglob("*")) if one.is_file())
    sizes = [one.stat().st_size for one in files]
    names = [one.relative_to(path).as_posix() for one in files]
    digest = hashlib.sha256(repr(list(zip(names, sizes, strict=True))).encode()).hexdigest()[:16]
    return f"{len(files)} files, {sum(sizes)} bytes, {digest}"


def check_delivered(key: str, path: Path, sent: str) -> None:
    """Compares an input with what the step that made it had listed.

    Args:
      key: The input's name, for the message.
      path: Where Kubeflow's launcher put it.
      sent: `listing` of the step that made it.

    Raises:
      ValueError: There is a file more or less, or one of another size.
    """
    found = listing(path)
    if found != sent:
        raise ValueError(
            f"the input {key} is not what the step before gave: {found} arrived, {sent} were "
            "sent. A step that was tried again leaves files of its first try in the bucket; start "
            "a new run"
        )
