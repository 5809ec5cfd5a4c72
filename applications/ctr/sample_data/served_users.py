"""Simulated users who see pages ranked by others, and click by their true probability.

Users, items, drift and habits are those of the click log, but a ranker supplies the order of a
page. A model can therefore be served to them, and the next one trained on their clicks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from applications.ctr.sample_data.click_log import (
    ClickLogConfig,
    impression_table,
    item_table,
    user_table,
)
from applications.ctr.sample_data.click_model import DEVICES, HOUR_MS, SURFACES
from applications.ctr.sample_data.dirt import Dirt, DirtMaker
from applications.ctr.sample_data.population import (
    USER_DIRT,
    USERS,
    make_items,
    make_users,
    random_stream,
)
from applications.ctr.sample_data.sessions import (
    Impressions,
    IntArray,
    Pages,
    SessionSimulator,
)
from applications.sample_files.log_writer import prefixed, write_csv, write_parquet

CANDIDATES = 30

Event = dict[str, Any]  # an impression or a click, as in the log


@dataclass(frozen=True)
class PageRequest:
    """A request for a page.

    Attributes:
      session_id, user_id, device, surface: Columns of the log.
      timestamp_ms: Time of the request in epoch milliseconds.
      candidates: Distinct items to choose from.
    """

    session_id: str
    user_id: str
    device: str
    surface: str
    timestamp_ms: int
    candidates: tuple[str, ...]


@dataclass(frozen=True)
class ShownPage:
    """A page that is shown.

    Attributes:
      items: Ten of the candidates, by position.
      impression_ids: Impression ids of the items.
    """

    items: Sequence[str]
    impression_ids: Sequence[str]


# Requests -> a page for each, in the same order.
MakePages = Callable[[list[PageRequest]], list[ShownPage]]


class ServedUsers:
    """Requests pages, and draws the clicks on them.

    Args:
      config: Config of users, items and traffic; its dirt is ignored.
    """

    def __init__(self, config: ClickLogConfig) -> None:
        sized = config.sized()
        assert sized.users is not None
        assert sized.items is not None
        assert sized.categories is not None
        self._config = config
        self._users = make_users(
            sized.users, config.start_ms, config.model, random_stream(config.seed, USERS)
        )
        self._items = make_items(
            sized.items, sized.categories, config.start_ms, config.hours, config.model, config.seed
        )
        self._simulator = SessionSimulator(self._users, self._items, config.model, config.seed)
        self._shown = 0
        self._index = {f"item_{n}": index for index, n in enumerate(self._items.number.tolist())}

    def write_tables(self, out: Path) -> None:
        """Writes users.parquet and items.csv."""
        out.mkdir(parents=True, exist_ok=True)
        write_csv(out / "items.csv", item_table(self._items))
        config, clean = self._config, Dirt.preset("none")
        made = DirtMaker(clean, config.seed, config.impressions, len(self._users.age), 0, 30.0)
        chance = random_stream(config.seed, USER_DIRT)
        write_parquet(out / "users.parquet", user_table(self._users, 0, clean, chance, made))

    def start_hour(self, hour: int) -> None:
        """Moves the popularity drift to an hour; must be called for each hour in order."""
        self._simulator.start_hour(hour, self._config.start_ms + hour * HOUR_MS)

    def time_ms(self, hour: int, part: int, parts: int) -> int:
        """Returns the start of a part of an hour in epoch milliseconds."""
        return self._config.start_ms + hour * HOUR_MS + part * HOUR_MS // parts

    def visit(
        self, count: int, hour: int, part: int, parts: int, pages: MakePages | None = None
    ) -> tuple[list[Event], list[Event]]:
        """Draws the traffic of a part of an hour.

        Args:
          count: Number of impressions, a multiple of ten.
          hour: Hour, counted from the start.
          part, parts: Index and number of equal parts.
          pages: Function that makes the pages; None for the click log's weak ranking.

        Returns:
          (impressions, clicks) as events. Impressions of served pages are left out, since the
          caller has logged them.
        """
        ids: list[Sequence[str]] = []

        def ranker(asked: Pages) -> IntArray:
            assert pages is not None
            shown = pages(self._requests(asked))
            ids.extend(page.impression_ids for page in shown)
            return np.array([[self._index[item] for item in page.items] for page in shown])

        start_ms = self._config.start_ms + hour * HOUR_MS
        rows = self._simulator.simulate_slice(
            count, hour, part, parts, start_ms, ranker if pages else None, CANDIDATES
        )
        if pages is None:
            first = self._shown
            self._shown += len(rows)
            names = [f"i{first + n}" for n in range(len(rows))]
            return impression_table(rows, first, self._items).to_pylist(), _clicks(rows, names)
        names = [
            ids[page][position - 1]
            for page, position in zip(rows.page.tolist(), rows.position.tolist(), strict=True)
        ]
        return [], _clicks(rows, names)

    def _requests(self, asked: Pages) -> list[PageRequest]:
        number = prefixed("item_", self._items.number[asked.item].ravel()).to_pylist()
        width = asked.item.shape[1]
        rows = zip(
            prefixed("s", asked.session).to_pylist(),
            prefixed("u", asked.user).to_pylist(),
            asked.device.tolist(),
            asked.surface.tolist(),
            asked.start_ms.tolist(),
            strict=True,
        )
        return [
            PageRequest(
                session_id=session,
                user_id=user,
                device=DEVICES[device],
                surface=SURFACES[surface],
                timestamp_ms=timestamp,
                candidates=tuple(dict.fromkeys(number[page * width : (page + 1) * width])),
            )
            for page, (session, user, device, surface, timestamp) in enumerate(rows)
        ]


def _clicks(rows: Impressions, impression_ids: list[str]) -> list[Event]:
    clicked = np.flatnonzero(rows.click_ms > 0)
    return [
        {
            "click_id": f"c-{impression_ids[place]}",
            "impression_id": impression_ids[place],
            "timestamp_ms": int(rows.click_ms[place]),
        }
        for place in clicked
    ]
