"""Raw features of candidates for a ranking request, equal to what the ETL would compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from applications.ctr.aggregations import GROUPS, RECENT, RECENT_HOURS, WINDOW_COUNTS
from applications.ctr.features import FEATURES
from applications.ctr.profiles import ITEM, UNKNOWN_USER, USER
from applications.ctr.row_features import is_known, item_age_hours, time_features
from features.online_features import OnlineFeatures
from features.online_store import OnlineStore
from serving.client.encode import encode


class UnknownItemError(LookupError):
    """A candidate is not in the catalogue."""


class RequestFeatures:
    """Computes the features of candidates from a request and the online store.

    Args:
      store: Store of users, items and their past.
    """

    def __init__(self, store: OnlineStore):
        self.online = OnlineFeatures(store, GROUPS)

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
        found = self.online.profiles({ITEM: item_ids, USER: [user_id, UNKNOWN_USER]})
        items, users = found[ITEM], found[USER]
        for item_id in item_ids:
            if item_id not in items:
                raise UnknownItemError(f"item '{item_id}' is not in the catalogue")
        user = users.get(user_id, users[UNKNOWN_USER])
        common = {"user_id": user_id, "device": device, "surface": surface, **user}
        common |= time_features(now_ms, np)
        rows = [
            {**common, **_item_features(items[item_id], now_ms), "item_id": item_id, "position": p}
            for item_id, p in zip(item_ids, positions, strict=True)
        ]
        for row, columns in zip(rows, self.online.columns(rows, now_ms), strict=True):
            row.update(columns)
            row["user_known"] = is_known(row["user_impressions_7d"])
        return rows

    def examples(self, *arguments: Any, **keywords: Any) -> list[bytes]:
        """Returns the result of `rows` as serialized tf.Examples."""
        return [encoded(row) for row in self.rows(*arguments, **keywords)]


def _item_features(profile: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
    listed = profile["listed_ms"]
    age = item_age_hours(now_ms, now_ms if listed is None else listed, np)
    columns = {name: value for name, value in profile.items() if name != "listed_ms"}
    return {**columns, "item_age_hours": age}


_WHOLE_NUMBERS = {"user_known", *WINDOW_COUNTS}
# Same types as the ETL's columns: these are floats even if the value is whole.
_FLOATS = {number.name for number in FEATURES.numeric} - _WHOLE_NUMBERS | {RECENT_HOURS}
_TEXTS = {category.name for category in FEATURES.categorical} | {*RECENT}


def encoded(row: Mapping[str, Any]) -> bytes:
    """Returns a row as a serialized tf.Example."""
    return encode(row, _TEXTS, _FLOATS)
