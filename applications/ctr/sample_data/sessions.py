"""Draws sessions, pages, rankings and clicks of a slice of an hour, as numpy arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from applications.ctr.sample_data.click_model import (
    HOUR_MS,
    MAX_PAGES,
    PAGE_SIZE,
    ClickModel,
    persistent_normal,
    sigmoid,
)
from applications.ctr.sample_data.population import (
    SESSIONS,
    ItemDrift,
    Items,
    Users,
    random_stream,
)

MEAN_PAGES = 1.7
_PAGES_SHARES = (0.5, 0.3, 0.2)
_DEVICE_SHARES = (0.62, 0.30, 0.08)
_SURFACE_SHARES = (0.4, 0.3, 0.3)
_RANKING_SKILL = 0.4
_HOUR_ACTIVITY = 1.0 + 0.6 * np.cos(2.0 * np.pi * (np.arange(24) - 20) / 24.0)
_NEVER = np.int64(-(2**62))

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Impressions:
    """The impressions of a slice in order of time; every column has the same length.

    `page` is the index of the page in the slice. `click_ms` is 0 if the log has no click.
    `probability` is the probability of an attributed click.
    """

    session: IntArray
    page: IntArray
    user: IntArray
    item: IntArray
    position: IntArray
    device: IntArray
    surface: IntArray
    timestamp_ms: IntArray
    click_ms: IntArray
    attributed: npt.NDArray[np.bool_]
    probability: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.user)


def impressions_by_hour(total: int, first_hour_of_day: int, hours: int) -> IntArray:
    """Distributes `total` impressions over the hours, with busy evenings and quiet nights."""
    weight = _HOUR_ACTIVITY[(first_hour_of_day + np.arange(hours)) % 24]
    ends = np.rint(total * np.cumsum(weight) / weight.sum()).astype(np.int64)
    return np.diff(ends, prepend=0)


class UserMemory:
    """The state of all users between sessions; no other state grows with their number."""

    def __init__(self, users: int) -> None:
        self.click_ms = np.full(users, _NEVER)
        self.click_category = np.full(users, -1, dtype=np.int16)
        self.session_end_ms = np.full(users, _NEVER)
        self.seen_items = np.full((users, MAX_PAGES * PAGE_SIZE), -1, dtype=np.int32)


@dataclass(frozen=True)
class Pages:
    """The P pages of all sessions, one session after the other."""

    session: IntArray  # [P] index of the session
    ordinal: IntArray  # [P] 0, 1, 2 within the session
    user: IntArray  # [P]
    device: IntArray  # [P]
    surface: IntArray  # [P]
    category: IntArray  # [P] category browsed, -1 on the home page
    start_ms: IntArray  # [P]
    item: IntArray  # [P, n] by position; candidates are in no particular order


# Pages with candidates [P, n] -> indices of the items shown [P, 10], by position.
Ranker = Callable[[Pages], IntArray]


class SessionSimulator:
    """Draws the log slice by slice, in order of time."""

    def __init__(self, users: Users, items: Items, model: ClickModel, seed: int) -> None:
        self._users, self._items, self._model, self._seed = users, items, model, seed
        self._segment = users.segment
        self._memory = UserMemory(len(users.age))
        self._drift = ItemDrift(len(items.category), model, seed)
        self._price = np.array(model.price)
        self._device = np.array(model.device)
        self.exposure: npt.NDArray[np.float64] = np.zeros(len(items.category) + 1)
        self.sessions = 0

    def start_hour(self, hour: int, start_ms: int) -> None:
        """Moves the popularity drift to an hour, and adds newly listed items."""
        self._drift.step(hour)
        self.exposure = self._items.exposure_until(start_ms)

    def simulate_slice(
        self,
        count: int,
        hour: int,
        part: int,
        parts: int,
        hour_start_ms: int,
        ranker: Ranker | None = None,
        candidates: int = PAGE_SIZE,
    ) -> Impressions:
        """Draws impressions of one of `parts` equal parts of an hour.

        Args:
          count: Number of impressions.
          hour: Hour, counted from the start of the log.
          part, parts: Index and number of parts.
          hour_start_ms: Start of the hour in epoch milliseconds.
          ranker: Function that chooses the items shown; None for a noisy ranking.
          candidates: Number of candidates per page for the ranker.
        """
        rng = random_stream(self._seed, SESSIONS, hour, part)
        window = (
            hour_start_ms + HOUR_MS * part // parts,
            hour_start_ms + HOUR_MS * (part + 1) // parts,
            hour_start_ms + HOUR_MS,
        )
        pages = self._draw_pages(count, window, rng, PAGE_SIZE if ranker is None else candidates)
        if ranker is not None:
            asked = replace(pages, session=self.sessions + pages.session)
            pages = replace(pages, item=ranker(asked))
        shape = pages.item.shape
        pause = np.arange(PAGE_SIZE) * 400 + rng.integers(0, 400, shape)
        timestamp = pages.start_ms[:, None] + pause
        logit = self._lasting_logit(pages, (hour_start_ms // HOUR_MS) % 24)
        delay, lost, late = self._draw_click_delays(shape, rng)
        logit, click_ms = self._draw_clicks(
            pages, logit, timestamp + delay, ~(lost | late), rng.random(shape)
        )
        probability = sigmoid(logit) * self._model.attributed_share
        clicked = click_ms > 0
        columns = {
            "session": self.sessions + pages.session[:, None],
            "page": np.arange(len(pages.user))[:, None],
            "user": pages.user[:, None],
            "item": pages.item,
            "position": np.arange(1, PAGE_SIZE + 1)[None, :],
            "device": pages.device[:, None],
            "surface": pages.surface[:, None],
            "timestamp_ms": timestamp,
            "click_ms": np.where(clicked & ~lost, click_ms, 0),
            "attributed": clicked & ~lost & ~late,
            "probability": probability,
        }
        self.sessions += int(pages.session[-1]) + 1
        # The last page is cut off once the slice has enough impressions.
        flat = {name: np.broadcast_to(c, shape).ravel()[:count] for name, c in columns.items()}
        order = np.argsort(flat["timestamp_ms"], kind="stable")
        return Impressions(**{name: column[order] for name, column in flat.items()})

    def _draw_pages(
        self, count: int, window: tuple[int, int, int], rng: np.random.Generator, per_page: int
    ) -> Pages:
        slice_start, slice_end, hour_end = window
        needed = -(-count // PAGE_SIZE)
        pages_of = rng.choice(np.arange(1, MAX_PAGES + 1), needed, p=_PAGES_SHARES)
        sessions = int(np.searchsorted(np.cumsum(pages_of), needed)) + 1
        pages_of = pages_of[:sessions]
        user = self._draw_users(sessions, slice_start, rng)
        session = np.repeat(np.arange(sessions), pages_of)[:needed]
        first_page = np.cumsum(pages_of) - pages_of
        ordinal = np.arange(needed) - first_page[session]
        gap = np.clip(rng.lognormal(np.log(40_000), 0.5, needed), 15_000, 180_000).astype(np.int64)
        offset = np.cumsum(np.where(ordinal == 0, 0, gap))
        offset -= offset[first_page[session]]
        start = rng.integers(slice_start, slice_end, sessions)
        # No session crosses the end of an hour, so that an hour's file is complete when written.
        longest = np.zeros(sessions, dtype=np.int64)
        np.maximum.at(longest, session, offset + PAGE_SIZE * 400)
        start = np.minimum(start, hour_end - longest)
        surface = rng.choice(len(_SURFACE_SHARES), sessions, p=_SURFACE_SHARES)
        category = np.where(surface == 0, -1, self._draw_categories(user, rng))
        device = rng.choice(len(_DEVICE_SHARES), sessions, p=_DEVICE_SHARES)
        return Pages(
            session=session,
            ordinal=ordinal,
            user=user[session],
            device=device[session],
            surface=surface[session],
            category=category[session],
            start_ms=start[session] + offset,
            item=self._draw_items(category[session], rng, per_page),
        )

    def _draw_users(self, sessions: int, now_ms: int, rng: np.random.Generator) -> IntArray:
        """Draws distinct users by activity, without users who are still in an earlier session.

        Samples without replacement by an exponential race (Efraimidis and Spirakis 2006).
        """
        race = rng.exponential(size=len(self._users.activity)) / self._users.activity
        race[self._memory.session_end_ms >= now_ms] = np.inf
        # Sorted, because the order of argpartition differs between versions of numpy.
        return np.sort(np.argpartition(race, sessions)[:sessions])

    def _draw_categories(self, user: IntArray, rng: np.random.Generator) -> IntArray:
        """Returns each user's favourite of three randomly drawn categories."""
        edges = self.exposure[self._items.category_start]
        draw = rng.random((len(user), 3)) * edges[-1]
        options = np.searchsorted(edges, draw, side="right") - 1
        liking = persistent_normal(user[:, None], options, self._seed * 2)
        return np.take_along_axis(options, np.argmax(liking, axis=1)[:, None], axis=1)[:, 0]

    def _draw_items(self, category: IntArray, rng: np.random.Generator, per_page: int) -> IntArray:
        """Draws n items per page by exposure, in the order of a noisy ranking.

        Systematic sampling at (k + u) / n of the exposure never repeats an item on a page, as long
        as no item has an n-th of the exposure.
        """
        pages = len(category)
        starts = self._items.category_start
        everywhere = category < 0
        low = np.where(everywhere, 0.0, self.exposure[starts[category]])
        high = np.where(everywhere, self.exposure[-1], self.exposure[starts[category + 1]])
        share = (np.arange(per_page) + rng.random((pages, 1))) / per_page
        point = low[:, None] + share * (high - low)[:, None]
        item = np.searchsorted(self.exposure, point, side="right") - 1
        # A weak ranking, so that position and appeal correlate but can be told apart.
        score = _RANKING_SKILL * self._items.appeal[item] + rng.standard_normal(item.shape)
        return np.take_along_axis(item, np.argsort(-score, axis=1), axis=1)

    def _lasting_logit(self, pages: Pages, hour_of_day: int) -> npt.NDArray[np.float64]:
        """Returns the logit without recency; shape [P, 10]."""
        model, items, users = self._model, self._items, self._users
        user = pages.user[:, None]
        category = items.category[pages.item]
        by_page = model.base + model.hour_effect(hour_of_day) + self._device[pages.device]
        logit = (by_page + users.clickiness[pages.user])[:, None] + model.position_effect(
            np.arange(1, PAGE_SIZE + 1)
        )
        logit += items.appeal[pages.item] + self._drift.effect[pages.item]
        logit += items.segment_category[self._segment[user], category]
        logit += model.user_category_sd * persistent_normal(user, category, self._seed * 2)
        brand = items.brand[pages.item]
        logit += model.user_brand_sd * persistent_normal(user, brand, self._seed * 2 + 1)
        logit += self._price[users.membership[user]] * items.price_in_category[pages.item]
        return logit

    def _draw_click_delays(
        self, shape: tuple[int, ...], rng: np.random.Generator
    ) -> tuple[IntArray, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Returns delays in ms, lost clicks, and clicks after the attribution window."""
        window_ms = self._model.attribution_window_minutes * 60_000
        lost = rng.random(shape) < self._model.lost_clicks
        late = rng.random(shape) < self._model.late_clicks
        soon = np.clip(rng.lognormal(np.log(12_000), 1.1, shape), 500, 0.7 * window_ms)
        after = window_ms * (1.05 + 4.0 * rng.random(shape))
        return np.where(late, after, soon).astype(np.int64), lost, late

    def _draw_clicks(
        self,
        pages: Pages,
        logit: npt.NDArray[np.float64],
        click_ms: IntArray,
        counts: npt.NDArray[np.bool_],
        draw: npt.NDArray[np.float64],
    ) -> tuple[npt.NDArray[np.float64], IntArray]:
        """Adds recency page by page, and draws the clicks.

        A page's clicks change the user's next page. All first pages are therefore drawn first, then
        all second and third ones, each vectorised over sessions.

        Args:
          pages: P pages.
          logit: Logit without recency, [P, 10].
          click_ms: Time at which a click would be logged, [P, 10].
          counts: Whether a click is logged in time, [P, 10]; other clicks have no recency effect.
          draw: Uniform random numbers, [P, 10].

        Returns:
          The complete logit, and click_ms with 0 for impressions without a click; both [P, 10].
        """
        memory, model = self._memory, self._model
        category = self._items.category[pages.item]
        logit, clicks = logit.copy(), np.zeros_like(click_ms)
        for ordinal in range(MAX_PAGES):
            rows = np.flatnonzero(pages.ordinal == ordinal)
            user, now = pages.user[rows], pages.start_ms[rows]
            known_ms, known_category = (
                [memory.click_ms[user, None]],
                [memory.click_category[user, None].astype(np.int64)],
            )
            fresh = now - memory.session_end_ms[user] < model.same_item_hours * HOUR_MS
            seen = [np.where(fresh[:, None], memory.seen_items[user], -1)]
            for back in range(1, ordinal + 1):
                known_ms.append(np.where(counts[rows - back], clicks[rows - back], 0))
                known_category.append(category[rows - back])
                seen.append(pages.item[rows - back])
            logit[rows] += self._recency(
                pages.item[rows],
                now,
                np.concatenate(known_ms, axis=1),
                np.concatenate(known_category, axis=1),
                np.concatenate(seen, axis=1),
            )
            clicked = draw[rows] < sigmoid(logit[rows])
            clicks[rows] = np.where(clicked, click_ms[rows], 0)
        self._remember(pages, category, np.where(counts, clicks, 0))
        return logit, clicks

    def _recency(
        self,
        item: IntArray,
        now: IntArray,
        known_ms: IntArray,
        known_category: IntArray,
        seen: IntArray,
    ) -> npt.NDArray[np.float64]:
        """Returns the boost of the last clicked category and fatigue of seen items, [rows, 10]."""
        model = self._model
        known_ms = np.where((known_ms > 0) & (known_ms < now[:, None]), known_ms, _NEVER)
        last = np.argmax(known_ms, axis=1)[:, None]
        age_ms = now[:, None] - np.take_along_axis(known_ms, last, axis=1).astype(np.float64)
        boost = model.same_category_clicked * np.exp(-age_ms / HOUR_MS / model.same_category_hours)
        last_category = np.take_along_axis(known_category, last, axis=1)
        same = self._items.category[item] == last_category
        again = (item[:, :, None] == seen[:, None, :]).any(axis=2)
        return np.where(same, boost, 0.0) + model.same_item_seen * again

    def _remember(self, pages: Pages, category: IntArray, clicks: IntArray) -> None:
        """Stores each session's last click, items and end; its users are distinct."""
        memory = self._memory
        best = np.argmax(clicks, axis=1)[:, None]
        page_click = np.take_along_axis(clicks, best, axis=1)[:, 0]
        page_category = np.take_along_axis(category, best, axis=1)[:, 0]
        memory.seen_items[pages.user[pages.ordinal == 0]] = -1
        for ordinal in range(MAX_PAGES):
            rows = np.flatnonzero(pages.ordinal == ordinal)
            user = pages.user[rows]
            later = page_click[rows] > memory.click_ms[user]
            newer = rows[later & (page_click[rows] > 0)]
            memory.click_ms[pages.user[newer]] = page_click[newer]
            memory.click_category[pages.user[newer]] = page_category[newer]
            columns = slice(ordinal * PAGE_SIZE, (ordinal + 1) * PAGE_SIZE)
            memory.seen_items[user, columns] = pages.item[rows]
            memory.session_end_ms[user] = pages.start_ms[rows] + PAGE_SIZE * 400
