"""Adds the dirt of real logs to clean rows, without changing which clean rows there are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import base.arrow  # noqa: F401
from applications.ctr.sample_data.population import CLICK_DIRT, DIRT, random_stream
from applications.ctr.sample_data.sessions import Impressions
from applications.sample_files.dirt_rates import DirtRates, rate
from applications.sample_files.log_writer import break_lines, json_lines, prefixed

IntArray = npt.NDArray[np.int64]

_MINUTE_MS = 60_000
_BURST_SIZE = (150, 400)
_BURST_MS = 45_000
_ORPHAN_OFFSET = 10**12


@dataclass(frozen=True)
class Dirt(DirtRates):
    """Rates of each kind of dirt, 0 to 0.2; the defaults are the `default` preset."""

    duplicate_impressions: float = rate(0.003, "exact copies, in the same or the next hour's file")
    null_user: float = rate(0.001, "extra impressions without user_id")
    null_item: float = rate(0.001, "extra impressions without item_id")
    null_device: float = rate(0.005, "impressions whose device is null (in place)")
    impossible_position: float = rate(0.001, "extra impressions at position 0, below 0 or 999")
    impossible_time: float = rate(0.0005, "extra impressions with a time in 1970 or before")
    unknown_item: float = rate(0.001, "extra impressions of an item that items.csv lacks")
    bots: float = rate(0.005, "extra impressions by bots, hundreds within seconds")
    broken_lines: float = rate(0.001, "extra lines that are not JSON, in both logs")
    duplicate_clicks: float = rate(0.01, "extra clicks, copies or double clicks, per click")
    late_clicks: float = rate(0.01, "extra clicks after the attribution window, per click")
    orphan_clicks: float = rate(0.005, "extra clicks on impressions never logged, per click")
    null_age: float = rate(0.02, "users without age")
    null_gender: float = rate(0.02, "users without gender")


@dataclass(frozen=True)
class Clicks:
    """Click records as numbers; every column has shape [n]."""

    click: IntArray
    impression: IntArray
    timestamp_ms: IntArray

    def take(self, rows: npt.NDArray[np.integer] | slice) -> Clicks:  # type: ignore[type-arg]
        """Returns some of the records."""
        return Clicks(self.click[rows], self.impression[rows], self.timestamp_ms[rows])

    @classmethod
    def concat(cls, parts: list[Clicks]) -> Clicks:
        """Returns the records of all parts."""
        return cls(
            np.concatenate([part.click for part in parts]),
            np.concatenate([part.impression for part in parts]),
            np.concatenate([part.timestamp_ms for part in parts]),
        )


class DirtMaker:
    """Turns clean impressions and clicks into log lines, and adds and counts the dirt.

    Args:
      dirt: Rates of dirt.
      seed: Seed of the log.
      impressions: Number of clean impressions in the log; ids of extra rows start after it.
      users: Number of people; bots have the user indices after them.
      bots: Number of bot accounts.
      window_minutes: Attribution window in minutes.
    """

    def __init__(
        self, dirt: Dirt, seed: int, impressions: int, users: int, bots: int, window_minutes: float
    ) -> None:
        self._dirt, self._seed, self._users, self._bots = dirt, seed, users, bots
        self._window_ms = window_minutes * _MINUTE_MS
        self._next_impression = self._next_session = self._next_click = impressions
        self._held: list[pa.Array] = []
        self.counts: Counter[str] = Counter({kind.name: 0 for kind in fields(dirt)})
        self.counts.update(bot_sessions=0, broken_click_lines=0)

    def impression_lines(
        self, clean: pa.Table, hour: int, part: int, *, last_hour: bool
    ) -> pa.BinaryArray:
        """Returns the lines of a slice in order of time, except those held from the hour before."""
        rng = random_stream(self._seed, DIRT, hour, part)
        rows = clean.num_rows
        clean = self._null_devices(clean, rng)
        lines = [json_lines(clean)]
        places: list[npt.NDArray[np.float64]] = [np.arange(rows, dtype=np.float64)]
        if part == 0:
            for held in self._held:
                lines.append(held)
                places.append(rng.random(len(held)) * rows)
            self._held = []
        for extra, place in (*self._bad_rows(clean, rng), *self._bursts(clean, rng)):
            lines.append(json_lines(extra))
            places.append(place)
        copied = self._pick("duplicate_impressions", rows, rng)
        now = np.ones(len(copied), bool) if last_hour else rng.random(len(copied)) < 0.7
        lines.append(lines[0].take(pa.array(copied[now])))
        places.append(np.minimum(copied[now] + rng.exponential(500.0, int(now.sum())), rows))
        self._held.append(lines[0].take(pa.array(copied[~now])))
        broken = self._pick("broken_lines", rows, rng)
        lines.append(break_lines(lines[0].take(pa.array(broken)), rng))
        places.append(broken + 0.5)
        order = np.argsort(np.concatenate(places), kind="stable")
        return pa.concat_arrays(lines).take(pa.array(order))

    def clicks(self, impressions: Impressions, first: int, hour: int, part: int) -> Clicks:
        """Returns the clicks on a slice's impressions, numbered from `first`, and dirty clicks."""
        rng = random_stream(self._seed, CLICK_DIRT, hour, part)
        has_click = impressions.click_ms > 0
        rows = np.flatnonzero(has_click)
        clean = Clicks(first + rows, first + rows, impressions.click_ms[rows])
        clicks = len(rows)
        twice = clean.take(self._pick("duplicate_clicks", clicks, rng, among=clicks))
        is_copy = rng.random(len(twice.click)) < 0.5
        numbers = np.where(is_copy, twice.click, self._click_numbers(len(twice.click)))
        pause = np.where(is_copy, 0, rng.integers(200, 3000, len(twice.click)))
        twice = Clicks(numbers, twice.impression, twice.timestamp_ms + pause)
        unclicked = np.flatnonzero(~has_click)
        chosen = unclicked[self._pick("late_clicks", clicks, rng, among=len(unclicked))]
        delay = self._window_ms * (1.05 + 4.0 * rng.random(len(chosen)))
        late_ms = impressions.timestamp_ms[chosen] + delay.astype(np.int64)
        late = Clicks(self._click_numbers(len(chosen)), first + chosen, late_ms)
        near = self._pick("orphan_clicks", clicks, rng, among=len(impressions))
        orphans = Clicks(
            self._click_numbers(len(near)),
            _ORPHAN_OFFSET + rng.integers(0, _ORPHAN_OFFSET, len(near)),
            impressions.timestamp_ms[near],
        )
        return Clicks.concat([clean, twice, late, orphans])

    def click_lines(self, clicks: Clicks, hour: int, part: int) -> pa.BinaryArray:
        """Returns the lines of one file of clicks, in order of time."""
        clicks = clicks.take(np.argsort(clicks.timestamp_ms, kind="stable"))
        columns = {
            "click_id": prefixed("c", clicks.click),
            "impression_id": prefixed("i", clicks.impression),
            "timestamp_ms": pa.array(clicks.timestamp_ms),
        }
        lines = json_lines(pa.table(columns))
        rng = random_stream(self._seed, CLICK_DIRT, hour, part, 1)
        rows = len(lines)
        broken = rng.integers(0, max(rows, 1), rng.binomial(rows, self._dirt.broken_lines))
        self.counts["broken_click_lines"] += len(broken)
        places = np.concatenate([np.arange(rows), broken + 0.5])
        bad = break_lines(lines.take(pa.array(broken)), rng)
        return pa.concat_arrays([lines, bad]).take(pa.array(np.argsort(places, kind="stable")))

    def _pick(
        self, kind: str, rows: int, rng: np.random.Generator, among: int | None = None
    ) -> IntArray:
        """Draws distinct rows for one kind of dirt, at its rate of `rows`, and counts them."""
        among = rows if among is None else among
        count = min(int(rng.binomial(rows, getattr(self._dirt, kind))), among)
        self.counts[kind] += count
        return np.sort(rng.choice(among, count, replace=False)) if count else np.zeros(0, np.int64)

    def _click_numbers(self, count: int) -> IntArray:
        self._next_click += count
        return np.arange(self._next_click - count, self._next_click)

    def _new_ids(self, count: int) -> pa.Array:
        self._next_impression += count
        return prefixed("i", np.arange(self._next_impression - count, self._next_impression))

    def _null_devices(self, clean: pa.Table, rng: np.random.Generator) -> pa.Table:
        missing = np.zeros(clean.num_rows, dtype=bool)
        missing[self._pick("null_device", clean.num_rows, rng)] = True
        device = pa.array(clean.column("device").to_numpy(), pa.string(), mask=missing)
        return _replace(clean, "device", device)

    def _bad_rows(
        self, clean: pa.Table, rng: np.random.Generator
    ) -> list[tuple[pa.Table, npt.NDArray[np.float64]]]:
        """Returns copies of rows with a new id and one wrong column each."""
        found = []
        for kind, column in (
            ("null_user", "user_id"),
            ("null_item", "item_id"),
            ("impossible_position", "position"),
            ("impossible_time", "timestamp_ms"),
            ("unknown_item", "item_id"),
        ):
            rows = self._pick(kind, clean.num_rows, rng)
            count = len(rows)
            if kind == "impossible_position":
                wrong = pa.array(rng.choice(np.array([0, -1, -5, 999]), count))
            elif kind == "impossible_time":
                wrong = pa.array(rng.integers(-(10**9), 10**9, count))
            elif kind == "unknown_item":
                wrong = prefixed("item_", 10**9 + rng.integers(0, 10**6, count))
            else:
                wrong = pa.nulls(count, pa.string())
            extra = _replace(clean.take(pa.array(rows)), "impression_id", self._new_ids(count))
            found.append((_replace(extra, column, wrong), rows + 0.5))
        return found

    def _bursts(
        self, clean: pa.Table, rng: np.random.Generator
    ) -> list[tuple[pa.Table, npt.NDArray[np.float64]]]:
        """Returns bot sessions: hundreds of impressions of one account within 45 seconds."""
        if not self._bots:
            return []
        time = clean.column("timestamp_ms").to_numpy()
        rows, found = clean.num_rows, []
        for _ in range(rng.poisson(self._dirt.bots * rows * 2 / sum(_BURST_SIZE))):
            size = int(rng.integers(*_BURST_SIZE))
            extra = clean.take(pa.array(rng.integers(0, rows, size)))
            user = self._users + int(rng.integers(self._bots))
            # A burst ends within the hour, even if it starts at the slice's last impression.
            hour_end = (int(time[0]) // (60 * _MINUTE_MS) + 1) * 60 * _MINUTE_MS
            start = min(int(rng.choice(time)), hour_end - _BURST_MS)
            when = np.sort(start + rng.integers(0, _BURST_MS, size))
            for name, values in (
                ("impression_id", self._new_ids(size)),
                ("session_id", prefixed("s", np.full(size, self._next_session))),
                ("user_id", prefixed("u", np.full(size, user))),
                ("position", pa.array(np.arange(size) % 10 + 1)),
                ("device", pa.array(["desktop"] * size)),
                ("timestamp_ms", pa.array(when)),
            ):
                extra = _replace(extra, name, values)
            self._next_session += 1
            self.counts["bots"] += size
            self.counts["bot_sessions"] += 1
            found.append((extra, np.searchsorted(time, when) - 0.5))
        return found


def _replace(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)
