"""Writes the SQLite files of the online table. Each file is replaced atomically by a rename.

    profiles.sqlite   (kind, key) -> properties of a user or an item; written when they change
    closed.sqlite     tiles of closed hours; written when another hour is closed
    open.sqlite       tiles of the hours that are not closed; written every time

A tile has the counts of an entity in one hour from one span. A span is the hour of the impressions,
and a click may fall into a later hour than its impression. An hour that is closed again (a replay)
or too old can therefore be removed completely, and the cost of an update does not depend on the
length of the windows. Tiles are found by the first key of an entity: for user and item, a user has
one row per hour with all items.

This module does not use Spark. online_table.py reads the files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from base.atomic_files import whole_file

PROFILES, CLOSED, OPEN = "profiles.sqlite", "closed.sqlite", "open.sqlite"
SEPARATOR = "\x1f"  # between the values of several keys: no id has it
_META = "create table meta (content text);"
_PROFILES = """
create table profiles (kind text, key text, profile text, primary key (kind, key)) without rowid;
"""
_TILES = """
create table counts (
    feature text, key text, hour integer, span integer, impressions integer, clicks integer,
    rest text, primary key (feature, key, hour, span)
) without rowid;
create table clicks (key text, span integer, clicks text, primary key (key, span)) without rowid;
"""


@dataclasses.dataclass(frozen=True)
class Tiles:
    """The tiles of some spans.

    Attributes:
      counts: Rows (feature, first key, hour, span, impressions, clicks, rest). For features with
        several keys, `rest` is JSON with three lists: `keys` (after the first, joined by
        SEPARATOR), `impressions` and `clicks`. The same keys may occur twice.
      clicks: Rows (keys, span, JSON list of clicks with `timestamp_ms` and the columns).
    """

    counts: Iterable[Sequence[Any]]
    clicks: Iterable[Sequence[Any]]


def write_profiles(
    folder: Path, version: str, profiles: Iterable[tuple[str, str, Mapping[str, Any]]]
) -> None:
    """Replaces the profiles if their version has changed.

    Args:
      folder: Folder of the online table.
      version: Version of the profiles' source.
      profiles: Rows (kind, key, column -> value).
    """
    if _meta(folder / PROFILES).get("version") == version:
        return
    with _successor(folder / PROFILES, {"version": version}, _PROFILES) as connection:
        lines = ((kind, key, json.dumps(profile)) for kind, key, profile in profiles)
        connection.executemany("insert into profiles values (?, ?, ?)", lines)


def write_closed(
    folder: Path, declared: str, spans: Mapping[int, int], tiles: Callable[[int], Tiles]
) -> None:
    """Updates the tiles of closed hours, writing only the changed spans.

    Args:
      folder: Folder of the online table.
      declared: Text that identifies the features; tiles of other features are replaced.
      spans: Wanted span -> its version.
      tiles: Function from a span to its tiles.
    """
    path = folder / CLOSED
    before = _meta(path)
    same = before.get("declared") == declared
    known = {int(span): version for span, version in before["spans"].items()} if same else {}
    if same and known == dict(spans):
        return
    gone = [span for span, version in known.items() if spans.get(span) != version]
    added = [span for span, version in spans.items() if known.get(span) != version]
    meta = {"declared": declared, "spans": dict(spans)}
    with _successor(path, meta, _TILES, anew=not same) as connection:
        for table in ("counts", "clicks"):
            places = ", ".join("?" * len(gone))
            connection.execute(f"delete from {table} where span in ({places})", gone)  # noqa: S608 - ours
        for span in added:
            _insert(connection, tiles(span))


def write_open(folder: Path, as_of_ms: int, tiles: Tiles) -> None:
    """Replaces the tiles of the hours that are not closed.

    Args:
      folder: Folder of the online table, whose other files are up to date.
      as_of_ms: Time up to which events are included, in epoch milliseconds.
      tiles: Tiles to write.
    """
    with _successor(folder / OPEN, {"as_of_ms": as_of_ms}, _TILES) as connection:
        _insert(connection, tiles)


def _insert(connection: sqlite3.Connection, tiles: Tiles) -> None:
    connection.executemany("insert into counts values (?, ?, ?, ?, ?, ?, ?)", tiles.counts)
    connection.executemany("insert into clicks values (?, ?, ?)", tiles.clicks)


def _meta(path: Path) -> dict[str, Any]:
    """Returns a file's metadata; empty if there is no file."""
    if not path.exists():
        return {}
    with contextlib.closing(connect(path)) as connection:
        ((content,),) = connection.execute("select content from meta")
        return dict(json.loads(content))


def connect(path: Path) -> sqlite3.Connection:
    """Opens a file read-only."""
    return sqlite3.connect(uri(path), uri=True)


def uri(path: Path) -> str:
    """Returns SQLite's URI of a file to open read-only."""
    return f"{path.resolve().as_uri()}?mode=ro"


@contextlib.contextmanager
def _successor(
    path: Path, meta: Mapping[str, Any], schema: str, *, anew: bool = True
) -> Iterator[sqlite3.Connection]:
    """Yields a database that replaces the file at the end.

    Args:
      path: File to replace.
      meta: New metadata.
      schema: Tables of a new file.
      anew: Whether to start with an empty file instead of a copy.
    """
    with whole_file(path) as partial:
        if not anew:
            shutil.copyfile(path, partial)
        with contextlib.closing(sqlite3.connect(partial)) as connection:
            connection.execute("pragma journal_mode = off")  # invisible until it is complete
            connection.execute("pragma synchronous = off")
            if anew:
                connection.executescript(_META + schema)
            connection.execute("delete from meta")
            connection.execute("insert into meta values (?)", (json.dumps(meta),))
            yield connection
            connection.commit()
