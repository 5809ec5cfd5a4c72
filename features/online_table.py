"""Looks up the current features of past events for serving, in the files of online_files.py.

They come from the hour tables (hourly_counts.py), so serving gets the values that the ETL computes
for an impression at the same time. A test compares them value by value. This module does not use
Spark.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from features.online_files import CLOSED, OPEN, PROFILES, SEPARATOR, connect, uri
from features.recent_clicks import RecentClicks
from features.window_features import HOUR_MS, Smoothing, WindowFeature

_AT_ONCE = 500  # SQLite takes 999 values per query
# An hour that was closed after `open` was written is in both files.
_COUNTS = """
select key, hour, impressions, clicks, rest from closed.counts
    where feature = ? and key in ({keys}) and hour >= ?
union all select key, hour, impressions, clicks, rest from main.counts
    where feature = ? and key in ({keys}) and hour >= ? and span > ?
"""
_CLICKS = """
select clicks from closed.clicks where key = ?
union all select clicks from main.clicks where key = ? and span > ?
"""


class OnlineTable:
    """Reads the online table, and its new files after `refresh`.

    Threads must not share an instance.

    Args:
      folder: Folder of the online table.

    Raises:
      FileNotFoundError: The files are not written yet.
    """

    def __init__(self, folder: Path):
        self._files = [folder / name for name in (OPEN, CLOSED, PROFILES)]
        self._open()

    def refresh(self) -> None:
        """Opens the files again if they were replaced."""
        if self._inodes != [path.stat().st_ino for path in self._files]:
            self._connection.close()
            self._open()

    def _open(self) -> None:
        # Opens the open hours first, because the other files are never older.
        self._inodes = [path.stat().st_ino for path in self._files]
        path, *others = self._files
        self._connection = connect(path)
        for other in others:
            self._connection.execute(f"attach database ? as {other.stem}", (uri(other),))
        self.as_of_ms = int(self._meta("main")["as_of_ms"])
        spans = self._meta("closed")["spans"]
        self._closed_through = max(map(int, spans), default=-1)
        # Caches the totals, because most requests contain the same popular items.
        self._totals: dict[tuple[str, int], dict[str, list[int]]] = defaultdict(dict)

    def _meta(self, database: str) -> dict[str, Any]:
        ((content,),) = self._connection.execute(f"select content from {database}.meta")  # noqa: S608 - ours
        return dict(json.loads(content))

    def close(self) -> None:
        self._connection.close()

    def window_features(
        self,
        feature: WindowFeature,
        keys: Sequence[Sequence[str]],
        smoothing: Smoothing,
        now_ms: int,
    ) -> list[dict[str, float]]:
        """Returns the columns of a feature, named as by add_window_features, for each entity.

        Args:
          feature: Declared feature.
          keys: Values of its keys for each entity.
          smoothing: Smoothing of the rates.
          now_ms: Time of the request, in epoch milliseconds.
        """
        hour = now_ms // HOUR_MS
        find = self._of_one_key if len(feature.keys) == 1 else self._of_several_keys
        totals = find(feature, [SEPARATOR.join(values) for values in keys], hour)
        return [_columns(feature, one, smoothing) for one in totals]

    def _of_one_key(self, feature: WindowFeature, keys: list[str], hour: int) -> list[list[int]]:
        """Returns the impressions and clicks in each window, for each key."""
        known = self._totals[feature.name, hour]
        missing = [key for key in dict.fromkeys(keys) if key not in known]
        known.update({key: [0] * 2 * len(feature.windows) for key in missing})
        begins = [hour - hours for hours in feature.windows.values()]
        sums = ", ".join(
            "sum(iif(hour >= ?, impressions, 0)), sum(iif(hour >= ?, clicks, 0))" for _ in begins
        )
        twice = [begin for begin in begins for _ in range(2)]
        for query, values in self._tiles(feature, missing, min(begins)):
            summed = f"select key, {sums} from ({query}) group by key"  # noqa: S608 - ours
            for key, *totals in self._connection.execute(summed, [*twice, *values]):
                known[key] = totals
        return [known[key] for key in keys]

    def _of_several_keys(
        self, feature: WindowFeature, keys: list[str], hour: int
    ) -> list[list[int]]:
        totals = {key: [0] * 2 * len(feature.windows) for key in keys}
        begins = [hour - hours for hours in feature.windows.values()]
        first = [*dict.fromkeys(key.split(SEPARATOR, 1)[0] for key in keys)]
        for query, values in self._tiles(feature, first, min(begins)):
            for key, tile_hour, _, _, rest in self._connection.execute(query, values):
                lists = json.loads(rest)
                counts = zip(lists["impressions"], lists["clicks"], strict=True)
                for name, (shown, clicked) in zip(lists["keys"], counts, strict=True):
                    found = totals.get(f"{key}{SEPARATOR}{name}")
                    if found is None:
                        continue
                    for place, begin in enumerate(begins):
                        if tile_hour >= begin:
                            found[2 * place] += shown
                            found[2 * place + 1] += clicked
        return [totals[key] for key in keys]

    def _tiles(
        self, feature: WindowFeature, keys: Sequence[str], begin: int
    ) -> Iterator[tuple[str, list[Any]]]:
        """Yields queries for the tiles of first keys, with their values."""
        for some in _chunks(keys, _AT_ONCE // 2):
            places = ", ".join("?" * len(some))
            of_each = [feature.name, *some, begin]
            yield _COUNTS.format(keys=places), [*of_each, *of_each, self._closed_through]

    def recent_clicks(
        self, feature: RecentClicks, keys: Sequence[str], now_ms: int
    ) -> dict[str, list[Any]]:
        """Returns the list columns of a feature, named as by add_recent_clicks, for one entity."""
        key, first_ms = SEPARATOR.join(keys), (now_ms // HOUR_MS - feature.hours) * HOUR_MS
        names = ("timestamp_ms", *feature.columns)
        tiles = self._connection.execute(_CLICKS, (key, key, self._closed_through))
        clicks = sorted(
            (
                [click.get(name) for name in names]
                for (text,) in tiles
                for click in json.loads(text)
                if first_ms <= click["timestamp_ms"] < now_ms
            ),
            reverse=True,
        )[: feature.length]
        columns: dict[str, list[Any]] = {
            name: [one[place + 1] for one in clicks]
            for place, name in enumerate(feature.list_columns())
        }
        columns[feature.hours_column()] = [(now_ms - one[0]) / HOUR_MS for one in clicks]
        return columns

    def profiles(self, kind: str, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Returns key -> profile, without unknown keys."""
        found: dict[str, dict[str, Any]] = {}
        for some in _chunks([*dict.fromkeys(keys)], _AT_ONCE):
            places = ", ".join("?" * len(some))
            query = f"select key, profile from profiles where kind = ? and key in ({places})"  # noqa: S608 - ours
            for key, text in self._connection.execute(query, [kind, *some]):
                found[key] = json.loads(text)
        return found


def _chunks(values: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (values[start : start + size] for start in range(0, len(values), size))


def _columns(
    feature: WindowFeature, totals: Sequence[int], smoothing: Smoothing
) -> dict[str, float]:
    columns: dict[str, float] = {}
    names = zip(feature.count_columns(), feature.rate_columns(), strict=True)
    for place, (count, rate) in enumerate(names):
        shown, clicked = totals[2 * place], totals[2 * place + 1]
        columns[count], columns[rate] = shown, smoothing.rate(clicked, shown)
    return columns
