"""Writes in a way that it is told, and dies by SIGKILL before its n-th change of the disk.

python writing_process.py WAY FOLDER N

WAY is one of WRITE. N counts from 0; a negative one never comes.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

from base import atomic_files
from tests.dying import die_before_change

NAME, NEW = "target.json", '{\n  "text": "new"\n}\n'


def by_library(path: Path) -> None:
    with (
        atomic_files.whole_file(path) as partial,
        contextlib.closing(sqlite3.connect(partial)) as connection,
    ):
        connection.execute("create table rows (text)")
        connection.execute("insert into rows values ('new')")
        connection.commit()


def fill(folder: Path) -> None:
    (folder / "part").mkdir(parents=True)
    for name in ("a", "b"):
        (folder / "part" / name).write_text(NEW)


def folder(path: Path) -> None:
    with atomic_files.whole_folder(path) as partial:
        fill(partial)


def published_folder(path: Path) -> None:
    staged = path.with_name("staged")
    shutil.rmtree(staged, ignore_errors=True)  # of one that was killed
    fill(staged)
    atomic_files.publish_folder(staged, path)


WRITE: dict[str, Callable[[Path], None]] = {
    "text": lambda path: atomic_files.write_text(path, NEW),
    "durable text": lambda path: atomic_files.write_text(path, NEW, durable=True),
    "bytes": lambda path: atomic_files.write_bytes(path, NEW.encode(), durable=True),
    "json": lambda path: atomic_files.write_json(path, {"text": "new"}, durable=True),
    "one of many writers": lambda path: atomic_files.write_text(path, NEW, many_writers=True),
    "library": by_library,
    "folder": folder,
    "published folder": published_folder,
}


if __name__ == "__main__":
    if int(sys.argv[3]) >= 0:
        die_before_change(int(sys.argv[3]))
    WRITE[sys.argv[1]](Path(sys.argv[2]) / NAME)
