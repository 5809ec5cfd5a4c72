"""Raw features of candidates for a ranking request, equal to what the ETL would compute."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from applications.ctr.aggregations import RECENT, WINDOW_COUNTS, WINDOW_FEATURES
from applications.ctr.features import FEATURES
from applications.ctr.hour_tables import ITEM, UNKNOWN_USER, USER
from features.online_table import OnlineTable
from features.window_features import HOUR_MS, Smoothing

_DAY_MS = 24 * HOUR_MS


class UnknownItemError(LookupError):
    """A candidate is not in the catalogue."""


class RequestFeatures:
    """Computes the features of candidates from a request and the online table.

    Args:
      table: Online table of users, items and their past.
      smoothing: Smoothing of the rates, as in the ETL.
    """

    def __init__(self, table: OnlineTable, smoothing: Smoothing):
        self._table, self._smoothing = table, smoothing

    def rows(
        self,
        user_id: str,
        item_ids: Sequence[str],
        positions: Sequence[int],
        now_ms: int,
        *,
        device: str,
        surface: str,
    ) -> list[dict[str, Any]]:
        """Returns feature -> value for each candidate.

        Args:
          user_id: Id of the user.
          item_ids: Ids of the candidates.
          positions: Positions of the candidates, from 1.
          now_ms: Time of the request in epoch milliseconds.
          device: Device of the user.
          surface: Surface of the page, such as home.

        Raises:
          UnknownItemError: An item is not in the catalogue.
        """
        self._table.refresh()
        items = self._table.profiles(ITEM, item_ids)
        for item_id in item_ids:
            if item_id not in items:
                raise UnknownItemError(f"item '{item_id}' is not in the catalogue")
        known = self._table.profiles(USER, [user_id, UNKNOWN_USER])
        user = known.get(user_id, known[UNKNOWN_USER])
        common = {"user_id": user_id, "device": device, "surface": surface, **user}
        common |= _time_features(now_ms)
        common |= self._table.recent_clicks(RECENT, [user_id], now_ms)
        rows = [
            {**common, **_item_features(items[item_id], now_ms), "item_id": item_id, "position": p}
            for item_id, p in zip(item_ids, positions, strict=True)
        ]
        for feature in WINDOW_FEATURES:
            keys = [[row[key] for key in feature.keys] for row in rows]
            found = self._table.window_features(feature, keys, self._smoothing, now_ms)
            for row, columns in zip(rows, found, strict=True):
                row.update(columns)
        for row in rows:
            row["user_known"] = int(row["user_impressions_7d"] > 0)
        return rows

    def examples(self, *arguments: Any, **keywords: Any) -> list[bytes]:
        """Returns the result of `rows` as serialized tf.Examples."""
        return [encoded(row) for row in self.rows(*arguments, **keywords)]


def _time_features(now_ms: int) -> dict[str, float]:
    hour = now_ms // HOUR_MS % 24
    angle = hour * 2 * math.pi / 24
    return {
        "hour_of_day": hour,
        "day_of_week": (now_ms // _DAY_MS + 3) % 7,  # 1970-01-01 was a Thursday; Monday is 0
        "hour_sin": math.sin(angle),
        "hour_cos": math.cos(angle),
    }


def _item_features(profile: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
    listed = profile["listed_ms"]
    age_ms = 0 if listed is None else max(now_ms - listed, 0)
    columns = {name: value for name, value in profile.items() if name != "listed_ms"}
    return {**columns, "item_age_hours": age_ms / HOUR_MS}


_WHOLE_NUMBERS = {"user_known", *WINDOW_COUNTS}
# Same types as the ETL's columns: these are floats even if the value is whole.
_FLOATS = {number.name for number in FEATURES.numeric} - _WHOLE_NUMBERS | {RECENT.hours_column()}
_TEXTS = {category.name for category in FEATURES.categorical} | {*RECENT.list_columns()}


def encoded(row: Mapping[str, Any]) -> bytes:
    """Returns a row as a serialized tf.Example."""
    return tf.train.Example(
        features=tf.train.Features(feature={n: _feature(n, v) for n, v in row.items()})
    ).SerializeToString()


def _feature(name: str, value: Any) -> tf.train.Feature:
    values = value if isinstance(value, list) else [value]
    if name in _FLOATS:
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    if name in _TEXTS:
        texts = tf.train.BytesList(value=[text.encode() for text in values])
        return tf.train.Feature(bytes_list=texts)
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
