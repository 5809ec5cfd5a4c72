"""The features of the past as they are now, for serving: a compact table of entities in SQLite.

    counts    (feature, key) -> impressions and clicks in each window
    clicks    key -> the last clicks, the most recent first (kind is empty)
    profiles  (kind, key) -> what the ETL knows of a user or an item

Made of the hour tables (hourly_counts.py), so what serving looks up is what the ETL computes for an
impression at that moment: a test compares the two, value by value. A table is a file that is
replaced as a whole; readers notice. It has no Spark in it, and needs none.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.recent_clicks import RecentClicks
from pipeline.window_features import HOUR_MS, Smoothing, WindowFeature

_SCHEMA = """
create table meta (as_of_ms integer, windows text);
create table counts (kind text, key text, value text, primary key (kind, key)) without rowid;
create table clicks (kind text, key text, value text, primary key (kind, key)) without rowid;
create table profiles (kind text, key text, value text, primary key (kind, key)) without rowid;
"""
_AT_ONCE = 500  # SQLite takes 999 values a query


@dataclasses.dataclass(frozen=True)
class OnlineRows:
    """What a table is made of; see write_online.

    Attributes:
      windows: hours, in the order of the totals.
      counts: (feature, keys, totals): impressions and clicks in turn, for each of the windows; for
        requests in the hour before `as_of_ms`'s, in that hour, and in the one after it.
      clicks: (keys, clicks, the most recent first: (time in ms, value of each column)).
      profiles: (kind, key, column -> value).
    """

    windows: Sequence[int]
    counts: Iterable[tuple[str, Sequence[str], Sequence[int]]]
    clicks: Iterable[tuple[Sequence[str], Sequence[Sequence[Any]]]]
    profiles: Iterable[tuple[str, str, Mapping[str, Any]]]


def write_online(path: Path, as_of_ms: int, rows: OnlineRows) -> None:
    """Replaces the table.

    Args:
      path: of the file.
      as_of_ms: what happened before this moment is in it.
      rows: its contents.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.unlink(missing_ok=True)
    connection = sqlite3.connect(partial)
    try:
        connection.execute("pragma journal_mode = off")  # nobody sees it before it is whole
        connection.executescript(_SCHEMA)
        connection.execute(
            "insert into meta values (?, ?)", (as_of_ms, json.dumps([*rows.windows]))
        )
        for table, entries in _entries(rows).items():
            lines = ((kind, key, json.dumps(value)) for kind, key, value in entries)
            connection.executemany(f"insert into {table} values (?, ?, ?)", lines)  # noqa: S608 - ours
        connection.commit()
    finally:
        connection.close()
    partial.replace(path)


def _entries(rows: OnlineRows) -> dict[str, Iterable[tuple[str, str, Any]]]:
    """Table -> (kind, key, value)."""
    return {
        "counts": ((feature, _key(keys), [*totals]) for feature, keys, totals in rows.counts),
        "clicks": (("", _key(keys), [[*one] for one in clicks]) for keys, clicks in rows.clicks),
        "profiles": rows.profiles,
    }


class OnlineTable:
    """Reads a table, and its successor as soon as there is one.

    Not to be shared between threads.

    Args:
      path: of the file.

    Raises:
      FileNotFoundError: there is none yet.
    """

    def __init__(self, path: Path):
        self._path = path
        self._open()

    def refresh(self) -> None:
        """Looks whether the file was replaced."""
        if self._path.stat().st_ino != self._inode:
            self._connection.close()
            self._open()

    def _open(self) -> None:
        self._inode = self._path.stat().st_ino
        self._connection = sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True)
        ((self.as_of_ms, windows),) = self._connection.execute("select * from meta")
        self._places = {hours: 2 * place for place, hours in enumerate(json.loads(windows))}

    def window_features(
        self,
        feature: WindowFeature,
        keys: Sequence[Sequence[str]],
        smoothing: Smoothing,
        now_ms: int,
    ) -> list[dict[str, float]]:
        """The columns of a feature, as add_window_features names them, for each of the entities.

        Args:
          feature: the declaration.
          keys: values of its keys, for each entity.
          smoothing: for the rates.
          now_ms: of the request; windows begin at an hour.
        """
        found = self._look_up("counts", feature.name, map(_key, keys))
        width = 2 * len(self._places)
        hours_on = now_ms // HOUR_MS - self.as_of_ms // HOUR_MS
        start = width * (1 + min(max(hours_on, -1), 1))
        nothing = [0] * width * 3
        totals = [found.get(_key(k), nothing)[start : start + width] for k in keys]
        return [self._columns(feature, one, smoothing) for one in totals]

    def _columns(
        self, feature: WindowFeature, totals: Sequence[int], smoothing: Smoothing
    ) -> dict[str, float]:
        columns: dict[str, float] = {}
        names = zip(
            feature.count_columns(), feature.rate_columns(), feature.windows.values(), strict=True
        )
        for count, rate, hours in names:
            place = self._places[hours]
            shown, clicked = totals[place], totals[place + 1]
            columns[count], columns[rate] = shown, smoothing.rate(clicked, shown)
        return columns

    def recent_clicks(
        self, feature: RecentClicks, keys: Sequence[str], now_ms: int
    ) -> dict[str, list[Any]]:
        """The list columns of a feature, as add_recent_clicks names them, for one entity."""
        found = self._look_up("clicks", "", [_key(keys)])
        first_ms = (now_ms // HOUR_MS - feature.hours) * HOUR_MS
        clicks = [one for one in found.get(_key(keys), []) if first_ms <= one[0] < now_ms]
        clicks = clicks[: feature.length]
        columns: dict[str, list[Any]] = {
            name: [one[place + 1] for one in clicks]
            for place, name in enumerate(feature.list_columns())
        }
        columns[feature.hours_column()] = [(now_ms - one[0]) / HOUR_MS for one in clicks]
        return columns

    def profiles(self, kind: str, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Key -> what is known; those that are not known are left out."""
        return self._look_up("profiles", kind, keys)

    def _look_up(self, table: str, kind: str, keys: Iterable[str]) -> dict[str, Any]:
        wanted, found = [*dict.fromkeys(keys)], {}
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            places = ", ".join("?" * len(some))
            query = f"select key, value from {table} where kind = ? and key in ({places})"  # noqa: S608 - ours
            for key, text in self._connection.execute(query, [kind, *some]):
                found[key] = json.loads(text)
        return found


def _key(values: Sequence[str]) -> str:
    return json.dumps([*values])
