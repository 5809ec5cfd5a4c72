"""Writes files and folders atomically: they appear whole or not at all.

Each is written under a hidden name beside its final path, and renamed once. A killed process or a
full disk leaves the old contents. The next write of the same file replaces a hidden leftover.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def partial_of(path: Path) -> Path:
    """Returns the hidden path of a file or folder that is being written.

    No pattern such as `*.json` matches it, and Spark does not see it.
    """
    return path.with_name(f".{path.name}-partial")


@contextlib.contextmanager
def whole_file(path: Path, *, durable: bool = False, many_writers: bool = False) -> Iterator[Path]:
    """Yields a path to write to, which is renamed to `path` at the end of the block.

        with whole_file(Path("table.parquet")) as partial:
            pq.write_table(table, partial)

    Args:
      path: Path of the file. Its folder is made if it is missing.
      durable: Whether the file must survive a power cut from the end of the block on. The contents
        are on disk before the rename, and the rename is on disk afterwards.
      many_writers: Whether several processes may write this file at a time. Each gets its own path,
        and the last one wins. A killed one leaves its path behind, so do not use this where a lock
        ensures one writer at a time.

    Raises:
      OSError: The file cannot be written; the old file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    if many_writers:
        partial = partial.with_name(f"{partial.name}-{uuid.uuid4().hex[:8]}")
    partial.unlink(missing_ok=True)
    try:
        yield partial
        if durable:
            _fsync(partial)
        partial.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to report
            partial.unlink(missing_ok=True)
        raise
    if durable:
        fsync_folder(path.parent)


def write_bytes(
    path: Path, content: bytes, *, durable: bool = False, many_writers: bool = False
) -> None:
    """Writes a file; the arguments and errors are those of `whole_file`."""
    with whole_file(path, durable=durable, many_writers=many_writers) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str, *, durable: bool = False, many_writers: bool = False) -> None:
    """Writes a file in UTF-8; the arguments and errors are those of `whole_file`."""
    write_bytes(path, text.encode("utf-8"), durable=durable, many_writers=many_writers)


def write_json(
    path: Path, content: Any, *, durable: bool = False, many_writers: bool = False
) -> None:
    """Writes indented JSON; the arguments and errors are those of `whole_file`.

    A lone surrogate, as in a path that is not UTF-8, is written as a JSON escape.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    encoded = text.encode("utf-8", "backslashreplace")
    write_bytes(path, encoded, durable=durable, many_writers=many_writers)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder to fill; it becomes `path` at the end of the block.

    It may not survive a power cut; see `publish_folder`.

    Args:
      path: Path of the folder, missing or empty.

    Raises:
      OSError: The folder cannot be made, or `path` is not empty.
    """
    partial = partial_of(path)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def publish_folder(staged: Path, target: Path) -> None:
    """Moves a folder durably: its contents are on disk before the move, and the move afterwards.

    Args:
      staged: Path of the folder, on the same file system as `target`.
      target: New path, missing or an empty folder. Its parents are made.

    Raises:
      OSError: The disk is full, or `target` is not empty.
    """
    fsync_tree(staged)
    target.parent.mkdir(parents=True, exist_ok=True)
    move_durably(staged, target)


def move_durably(source: Path, target: Path) -> None:
    """Renames a file or folder whose contents are on disk; the rename survives a power cut."""
    source.rename(target)
    fsync_folder(target.parent)


def fsync_folder(folder: Path) -> None:
    """Makes new, renamed and removed entries of a folder survive a power cut."""
    _fsync(folder)


def fsync_tree(folder: Path) -> None:
    """Makes a folder and everything below it survive a power cut."""
    for path in (folder, *folder.rglob("*")):
        _fsync(path)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
