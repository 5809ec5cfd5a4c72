"""Users of a site who are shown what somebody else ranks, and click by their true probability.

The same people, items, drift and habits as in the click log; the order of a page is not drawn but
asked for. So a model can be served to them, and what they do be its next lesson.
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

Event = dict[str, Any]  # of an impression or a click, as in the log


@dataclass(frozen=True)
class PageRequest:
    """What a page is made for.

    Attributes:
        session_id, user_id, device, surface: as in the log.
        timestamp_ms: when.
        candidates: items that might be shown; no item twice.
    """

    session_id: str
    user_id: str
    device: str
    surface: str
    timestamp_ms: int
    candidates: tuple[str, ...]


@dataclass(frozen=True)
class ShownPage:
    """What is shown.

    Attributes:
        items: ten of the candidates, by position.
        impression_ids: of each.
    """

    items: Sequence[str]
    impression_ids: Sequence[str]


# A page for each request, in their order.
MakePages = Callable[[list[PageRequest]], list[ShownPage]]


class ServedUsers:
    """Who asks for pages, and what comes of it.

    Args:
        config: people, items and traffic; its dirt is left out.
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
        """users.parquet and items.csv."""
        out.mkdir(parents=True, exist_ok=True)
        write_csv(out / "items.csv", item_table(self._items))
        config, clean = self._config, Dirt.preset("none")
        made = DirtMaker(clean, config.seed, config.impressions, len(self._users.age), 0, 30.0)
        chance = random_stream(config.seed, USER_DIRT)
        write_parquet(out / "users.parquet", user_table(self._users, 0, clean, chance, made))

    def start_hour(self, hour: int) -> None:
        """Lets popularity drift on; once an hour, in order."""
        self._simulator.start_hour(hour, self._config.start_ms + hour * HOUR_MS)

    def time_ms(self, hour: int, part: int, parts: int) -> int:
        """When a part of an hour begins."""
        return self._config.start_ms + hour * HOUR_MS + part * HOUR_MS // parts

    def visit(
        self, count: int, hour: int, part: int, parts: int, pages: MakePages | None = None
    ) -> tuple[list[Event], list[Event]]:
        """The traffic of a part of an hour.

        Args:
            count: impressions, a multiple of ten.
            hour: counted from the start.
            part, parts: which of so many equal parts.
            pages: makes the pages; None: as in the click log, by a ranking that knows little.

        Returns:
            (impressions, clicks) as events. The impressions of served pages are left out: whoever
            made them has them.
        """
        ids: list[Sequence[str]] = []

        def ranker(asked: Pages) -> IntArray:
            shown = (pages or _nobody)(self._requests(asked))
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
                timestamp_ms=moment,
                candidates=tuple(dict.fromkeys(number[page * width : (page + 1) * width])),
            )
            for page, (session, user, device, surface, moment) in enumerate(rows)
        ]


def _nobody(requests: list[PageRequest]) -> list[ShownPage]:
    raise AssertionError("pages are asked for only when somebody makes them")


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
