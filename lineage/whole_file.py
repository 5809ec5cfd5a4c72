"""Writes the output of a command to a file, a pipe or the standard output."""

from __future__ import annotations

from pathlib import Path

from base.atomic_files import write_text

STANDARD_OUTPUT = Path("-")


def write_whole(path: Path, text: str) -> None:
    """Writes a file so that a reader never sees half of it.

    Args:
      path: Path of the file, or '-' for the standard output. The target of a link is replaced, and
        what is no file, such as a pipe or a device, is written into.
      text: Its contents.

    Raises:
      OSError: It cannot be written.
    """
    if path == STANDARD_OUTPUT:
        print(text, end="", flush=True)
        return
    path = path.resolve()
    if path.exists() and not path.is_file() and not path.is_dir():
        path.write_text(text, "utf-8")
        return
    write_text(path, text, many_writers=True)
