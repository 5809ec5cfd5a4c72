"""Gives a run a temporary folder of its own."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def temporary_folder(name: str) -> Iterator[None]:
    """Redirects temporary files of this process and its children to a folder, then removes it.

    TFX, Beam and TensorFlow's autograph leave files there, and hourly runs would fill the disk. A
    killed run leaves its folder. Java's files are elsewhere; Spark removes them.

    Args:
      name: Prefix of the folder's name.
    """
    variable, default = os.environ.get("TMPDIR"), tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix=f"{name}-", ignore_cleanup_errors=True) as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = default
            if variable is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = variable
