"""A store of values by key, from which serving reads: its interface, and its form in SQLite files.

A store has a few tables. Each has values (bytes) by kind and key, and a description (`meta`), which
tells an empty table from one that was never written or was cleared. redis_store.py is the other
form. This module does not know what the values mean, and does not use Spark.
"""

from __future__ import annotations

import abc
import contextlib
import json
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from base.atomic_files import whole_file

Key = tuple[str, str]  # kind and key, such as an entity's name and one of its keys
_AT_ONCE = 500  # SQLite takes 999 values per query


class OnlineStoreError(RuntimeError):
    """The online store cannot be used now, or lacks a table. One line with the next step."""


class OnlineStore(abc.ABC):
    """Tables of bytes by kind and key. Threads must not share an instance."""

    @abc.abstractmethod
    def meta(self, table: str) -> dict[str, Any] | None:
        """Returns a table's description; None if the table was never written, or was cleared."""

    @abc.abstractmethod
    def get_many(
        self, tables: Sequence[str], keys: Sequence[Key]
    ) -> list[tuple[dict[str, Any], list[bytes | None]]]:
        """Reads the same keys from several tables, one table after the other.

        Returns:
          For each table its description, and the value of each key; None for an unknown key.

        Raises:
          OnlineStoreError: The store cannot be reached, or a table is not there.
        """

    @abc.abstractmethod
    def replace(
        self, table: str, rows: Iterable[tuple[Key, bytes]], meta: Mapping[str, Any]
    ) -> None:
        """Replaces a whole table at once: readers see all of the old one or all of the new one."""

    @abc.abstractmethod
    def update(
        self, table: str, rows: Iterable[tuple[Key, bytes | None]], meta: Mapping[str, Any]
    ) -> None:
        """Writes some keys of a table, and its description last; None removes a key.

        A reader may see some of the new values before the others. After a crash, the description is
        the old one, and the same update can be written again.
        """

    @abc.abstractmethod
    def all(self, table: str) -> Iterator[tuple[Key, bytes]]:
        """Yields all values of a table, which must not be updated meanwhile."""

    def close(self) -> None:  # noqa: B027 - a store may have nothing to close
        """Closes connections."""

    @staticmethod
    def lacks(table: str) -> OnlineStoreError:
        """Returns the error for a table that is not there."""
        return OnlineStoreError(
            f"the online store has no table '{table}': it was not written yet, or was cleared. "
            "`python -m streaming ingest` writes it when streaming.online_seconds is set"
        )


class SqliteStore(OnlineStore):
    """A store in a folder, with one SQLite file for each table.

    A file is replaced by a rename, also for an update. So readers need no lock and no permission to
    write, and never see half an update. Readers notice a new file by themselves.

    Args:
      folder: Folder of the files.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._open: dict[str, tuple[tuple[int, int], sqlite3.Connection]] = {}

    def meta(self, table: str) -> dict[str, Any] | None:
        try:
            return self._meta(self._connection(table))
        except OnlineStoreError:
            return None

    def get_many(
        self, tables: Sequence[str], keys: Sequence[Key]
    ) -> list[tuple[dict[str, Any], list[bytes | None]]]:
        # Opens all in the order given, before it reads any: a file that is open does not change.
        opened = [self._connection(table) for table in tables]
        return [(self._meta(one), _values(one, keys)) for one in opened]

    def replace(
        self, table: str, rows: Iterable[tuple[Key, bytes]], meta: Mapping[str, Any]
    ) -> None:
        self._write(table, rows, meta, anew=True)

    def update(
        self, table: str, rows: Iterable[tuple[Key, bytes | None]], meta: Mapping[str, Any]
    ) -> None:
        self._write(table, rows, meta, anew=not self._path(table).exists())

    def all(self, table: str) -> Iterator[tuple[Key, bytes]]:
        for kind, key, value in self._connection(table).execute("select * from vals"):
            yield (kind, key), value

    def close(self) -> None:
        for _, connection in self._open.values():
            connection.close()
        self._open.clear()

    def _path(self, table: str) -> Path:
        return self._folder / f"{table}.sqlite"

    def _connection(self, table: str) -> sqlite3.Connection:
        """Returns a connection to the present file of a table."""
        path = self._path(table)
        try:
            found = path.stat()
        except FileNotFoundError:
            raise self.lacks(table) from None
        # A new file may get the number of one that was removed.
        version = (found.st_ino, found.st_mtime_ns)
        known = self._open.get(table)
        if known is not None and known[0] == version:
            return known[1]
        if known is not None:
            known[1].close()
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        self._open[table] = version, connection
        return connection

    @staticmethod
    def _meta(connection: sqlite3.Connection) -> dict[str, Any]:
        ((content,),) = connection.execute("select content from meta")
        return dict(json.loads(content))

    def _write(
        self,
        table: str,
        rows: Iterable[tuple[Key, bytes | None]],
        meta: Mapping[str, Any],
        *,
        anew: bool,
    ) -> None:
        path = self._path(table)
        with whole_file(path) as partial:
            if not anew:
                shutil.copyfile(path, partial)
            with contextlib.closing(sqlite3.connect(partial)) as connection:
                connection.execute("pragma journal_mode = off")  # invisible until it is complete
                connection.execute("pragma synchronous = off")
                if anew:
                    connection.executescript(
                        "create table meta (content text);"
                        # Not `without rowid`: its tree has the long values within, and a search
                        # reads through them.
                        "create table vals (kind text, key text, value blob,"
                        " primary key (kind, key));"
                    )
                for removed, some in groupby(rows, lambda row: row[1] is None):
                    if removed:
                        connection.executemany(
                            "delete from vals where kind = ? and key = ?", (key for key, _ in some)
                        )
                    else:
                        connection.executemany(
                            "insert or replace into vals values (?, ?, ?)",
                            ((*key, value) for key, value in some),
                        )
                connection.execute("delete from meta")
                connection.execute("insert into meta values (?)", (json.dumps(dict(meta)),))
                connection.commit()


def _values(connection: sqlite3.Connection, keys: Sequence[Key]) -> list[bytes | None]:
    by_kind: dict[str, list[str]] = {}
    for kind, key in dict.fromkeys(keys):
        by_kind.setdefault(kind, []).append(key)
    found: dict[Key, bytes] = {}
    for kind, names in by_kind.items():
        for some in _chunks(names, _AT_ONCE):
            places = ", ".join("?" * len(some))
            query = f"select key, value from vals where kind = ? and key in ({places})"  # noqa: S608 - ours
            for key, value in connection.execute(query, [kind, *some]):
                found[kind, key] = value
    return [found.get(key) for key in keys]


def _chunks(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Yields a sequence in pieces of at most `size`."""
    return (values[start : start + size] for start in range(0, len(values), size))
