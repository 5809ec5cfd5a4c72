"""Writes a file: whole, or not at all."""

from __future__ import annotations

from pathlib import Path

STANDARD_OUTPUT = Path("-")


def write_whole(path: Path, text: str) -> None:
    """Under another name first, so that a reader never sees half of it.

    Args:
      path: '-' is the standard output. A link's target is written, and what is no file, such as a
        pipe or a device, is written into.
      text: of it.

    Raises:
      OSError: it cannot be written.
    """
    if path == STANDARD_OUTPUT:
        print(text, end="", flush=True)
        return
    path = path.resolve()
    if path.exists() and not path.is_file() and not path.is_dir():
        path.write_text(text, "utf-8")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, "utf-8")
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
