"""A temporary folder for one run, which goes with it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def temporary_folder(name: str) -> Iterator[None]:
    """Within it, this process and its children keep their temporary files in a folder of their own.

    TFX, Beam and TensorFlow's autograph leave what they wrote there; a run each hour fills a disk.
    A run that is killed leaves its folder. Java's files are elsewhere; Spark removes them.

    Args:
      name: begins the folder's name.
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
