"""The files of the online table: SQLite, each replaced as a whole, by one rename.

    profiles.sqlite   (kind, key) -> what the ETL knows of a user or an item; when that has changed
    closed.sqlite     tiles of closed hours; when another hour is closed
    open.sqlite       tiles of the hours that are not closed; every time

A tile is what happened to an entity in an hour, as one span tells it: a span is the hour of the
impressions, and a click may come in a later hour than its impression. So an hour that is closed
again (a replay) or too old leaves nothing behind, and what a minute costs does not depend on how
long the windows are. Entities are found by the first of their keys: of user and item there is one
row for a user and an hour, with all items in it.

There is no Spark in it; online_features.py reads these files.
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
    """Of some spans.

    Attributes:
      counts: (feature, first key, hour, span, impressions, clicks, rest); `rest` is of features
        with more keys: JSON with three lists, `keys` (those after the first, SEPARATOR between),
        `impressions` and `clicks`; it may name the same keys twice.
      clicks: (keys, span, JSON: a list of clicks, each with `timestamp_ms` and the columns).
    """

    counts: Iterable[Sequence[Any]]
    clicks: Iterable[Sequence[Any]]


def write_profiles(
    folder: Path, version: str, profiles: Iterable[tuple[str, str, Mapping[str, Any]]]
) -> None:
    """Replaces the profiles, if they are of another version.

    Args:
      folder: of the online table.
      version: of what they are made of.
      profiles: (kind, key, column -> value).
    """
    if _meta(folder / PROFILES).get("version") == version:
        return
    with _successor(folder / PROFILES, {"version": version}, _PROFILES) as connection:
        lines = ((kind, key, json.dumps(profile)) for kind, key, profile in profiles)
        connection.executemany("insert into profiles values (?, ?, ?)", lines)


def write_closed(
    folder: Path, declared: str, spans: Mapping[int, int], tiles: Callable[[int], Tiles]
) -> None:
    """Brings the closed hours to what is asked for: only what has changed is written.

    Args:
      folder: of the online table.
      declared: the features; tiles of other ones are of no use.
      spans: that are wanted, with their versions.
      tiles: of a span.
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
    """Replaces what is known of the hours that are not closed.

    Args:
      folder: of the online table; the other files are there, and as new as this one.
      as_of_ms: what happened before this moment is in it.
      tiles: its contents.
    """
    with _successor(folder / OPEN, {"as_of_ms": as_of_ms}, _TILES) as connection:
        _insert(connection, tiles)


def _insert(connection: sqlite3.Connection, tiles: Tiles) -> None:
    connection.executemany("insert into counts values (?, ?, ?, ?, ?, ?, ?)", tiles.counts)
    connection.executemany("insert into clicks values (?, ?, ?)", tiles.clicks)


def _meta(path: Path) -> dict[str, Any]:
    """Empty if there is no such file."""
    if not path.exists():
        return {}
    with contextlib.closing(connect(path)) as connection:
        ((content,),) = connection.execute("select content from meta")
        return dict(json.loads(content))


def connect(path: Path) -> sqlite3.Connection:
    """Read only."""
    return sqlite3.connect(uri(path), uri=True)


def uri(path: Path) -> str:
    """Of a file that is only read."""
    return f"{path.resolve().as_uri()}?mode=ro"


@contextlib.contextmanager
def _successor(
    path: Path, meta: Mapping[str, Any], schema: str, *, anew: bool = True
) -> Iterator[sqlite3.Connection]:
    """Yields a database that takes the file's place at the end: readers see one or the other.

    Args:
      path: of the file.
      meta: its new content.
      schema: of a new file.
      anew: else what is written is added to a copy of the file.
    """
    with whole_file(path) as partial:
        if not anew:
            shutil.copyfile(path, partial)
        with contextlib.closing(sqlite3.connect(partial)) as connection:
            connection.execute("pragma journal_mode = off")  # nobody sees it before it is whole
            connection.execute("pragma synchronous = off")
            if anew:
                connection.executescript(_META + schema)
            connection.execute("delete from meta")
            connection.execute("insert into meta values (?)", (json.dumps(meta),))
            yield connection
            connection.commit()
