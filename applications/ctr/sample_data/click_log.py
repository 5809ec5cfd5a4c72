"""Configures a click log, and writes it hour by hour in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import base.arrow  # noqa: F401
from applications.ctr.sample_data.best_reachable import BestReachable
from applications.ctr.sample_data.click_model import (
    DEVICES,
    GENDERS,
    HOUR_MS,
    MEMBERSHIPS,
    SURFACES,
    ClickModel,
)
from applications.ctr.sample_data.dirt import Clicks, Dirt, DirtMaker
from applications.ctr.sample_data.population import (
    COUNTRIES,
    USER_DIRT,
    USERS,
    Items,
    Users,
    make_items,
    make_users,
    random_stream,
)
from applications.ctr.sample_data.sessions import (
    Impressions,
    SessionSimulator,
    impressions_by_hour,
)
from applications.sample_files import output_folder
from applications.sample_files.log_writer import (
    hour_folder,
    labels,
    prefixed,
    write_csv,
    write_lines,
    write_parquet,
)

FORMAT_VERSION = 1
FILES = ("impressions", "clicks", "truth", "users.parquet", "items.csv")
_SLICE_IMPRESSIONS = 100_000
_MOST_SLICES = 12  # few users need many slices, but a session lasts a few minutes
_CLICK_PART_ROWS = 200_000
_ITEMS_PER_CATEGORY = 20

Progress = Callable[[int, int], None]


class ConfigError(ValueError):
    """A configuration is invalid; the text is one line that names the option."""


@dataclass(frozen=True)
class ClickLogConfig:
    """The parameters of a simulation. A size of None is derived from the number of impressions.

    Raises:
      ConfigError: A value is out of range.
    """

    impressions: int = 200_000
    hours: int = 48
    start: str = "2024-03-01T00"
    seed: int = 7
    users: int | None = None
    items: int | None = None
    categories: int | None = None
    dirt: Dirt = field(default_factory=Dirt)
    model: ClickModel = field(default_factory=ClickModel)

    def __post_init__(self) -> None:
        for name, least in (("impressions", 1), ("hours", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}, but it must be {least} or more"
                )
        if self.impressions < 10 * self.hours:
            raise ConfigError(
                f"impressions is {self.impressions}, but {self.hours} hours need at least "
                f"{10 * self.hours}"
            )
        if self.start_ms < 0:
            raise ConfigError(f"start is {self.start}, but the log cannot start before 1970")
        sized = self.sized()
        users, items, categories = sized.users or 0, sized.items or 0, sized.categories or 0
        if categories < 1:
            raise ConfigError(f"categories is {categories}, but it must be 1 or more")
        if items < _ITEMS_PER_CATEGORY * categories:
            raise ConfigError(
                f"items is {items}, but {categories} categories need at least "
                f"{_ITEMS_PER_CATEGORY * categories}"
            )
        if users < self._least_users():
            raise ConfigError(
                f"users is {users}, but the busiest hour needs at least {self._least_users()}"
            )

    @property
    def start_ms(self) -> int:
        """Start of the first hour in epoch milliseconds."""
        try:
            start = datetime.strptime(self.start, "%Y-%m-%dT%H").replace(tzinfo=timezone.utc)
        except ValueError:
            raise ConfigError(
                f"start is {self.start!r}, but it must be an hour in UTC like 2024-03-01T00"
            ) from None
        return int(start.timestamp()) * 1000

    def impressions_by_hour(self) -> list[int]:
        """Returns the number of clean impressions of each hour."""
        first = self.start_ms // HOUR_MS % 24
        return [int(n) for n in impressions_by_hour(self.impressions, first, self.hours)]

    def slices(self, hour_impressions: int) -> int:
        """Returns the number of equal slices of an hour; a user has at most one session in each."""
        users = self.sized().users or 1
        return ceil(hour_impressions / min(_SLICE_IMPRESSIONS, 5 * users))

    def sized(self) -> ClickLogConfig:
        """Returns the same config with users, items and categories filled in."""
        if None not in (self.users, self.items, self.categories):
            return self
        users, categories = self.users, self.categories
        if users is None:
            users = max(100, self.impressions // 50, 3 * self._least_users())
        items = self.items
        if items is None:
            items = max(
                100, int(2 * self.impressions**0.5), _ITEMS_PER_CATEGORY * (categories or 0)
            )
        if categories is None:
            categories = max(1, min(40, items // _ITEMS_PER_CATEGORY))
        return replace(self, users=users, items=items, categories=categories)

    def _least_users(self) -> int:
        return max(20, ceil(max(self.impressions_by_hour()) / 5 / _MOST_SLICES))

    def describe(self) -> dict[str, Any]:
        """Returns everything the output depends on, for the manifest."""
        config = asdict(self.sized())
        config["model"]["price"] = list(self.model.price)
        config["model"]["device"] = list(self.model.device)
        return {"kind": "click_log", "format_version": FORMAT_VERSION, "config": config}


@dataclass(frozen=True)
class ClickLogSummary:
    """The contents of a log; `written` is False if it existed already."""

    counts: dict[str, int]
    dirt: dict[str, int]
    best_reachable: dict[str, float | None]
    written: bool


def generate_click_log(
    config: ClickLogConfig,
    out: Path,
    progress: Progress | None = None,
    *,
    overwrite: bool = False,
) -> ClickLogSummary:
    """Writes a click log (see README.md for its layout), unless `out` already holds this one.

    Args:
      config: Parameters of the simulation.
      out: Output folder.
      progress: Function that is called after each slice with the finished and total impressions.
      overwrite: Whether to write into a folder that holds other files.

    Raises:
      OutputError: `out` holds other files, cannot be written to, or the disk is full.
    """
    manifest = output_folder.begin(out, config.describe(), FILES, overwrite=overwrite)
    if manifest is None:
        with output_folder.readable_errors(out):
            contents = _ClickLogWriter(config.sized(), out).write(progress)
            manifest = {**config.describe(), **contents, "complete": True}
            output_folder.write_manifest(out, manifest)
        written = True
    else:
        written = False
    return ClickLogSummary(
        counts=manifest["counts"],
        dirt=manifest["dirt"],
        best_reachable=manifest["best_reachable"],
        written=written,
    )


class _ClickLogWriter:
    """Writes the hours in order; holds the users, the items, one slice and future clicks."""

    def __init__(self, config: ClickLogConfig, out: Path) -> None:
        assert config.users is not None
        assert config.items is not None
        assert config.categories is not None
        self._config, self._out = config, out
        users = make_users(
            config.users, config.start_ms, config.model, random_stream(config.seed, USERS)
        )
        items = make_items(
            config.items,
            config.categories,
            config.start_ms,
            config.hours,
            config.model,
            config.seed,
        )
        bots = max(1, config.users // 500) if config.dirt.bots else 0
        self._dirt = DirtMaker(
            config.dirt,
            config.seed,
            config.impressions,
            config.users,
            bots,
            config.model.attribution_window_minutes,
        )
        self._users, self._items, self._bots = users, items, bots
        self._simulator = SessionSimulator(users, items, config.model, config.seed)
        self._best = BestReachable()
        self._pending: dict[int, list[Clicks]] = {}
        self._click_parts: dict[int, int] = {}
        self._truth_parts = 0
        self._counts = dict.fromkeys(
            ("impressions", "clicks", "attributed_clicks", "impression_lines", "click_lines"), 0
        )

    def write(self, progress: Progress | None) -> dict[str, Any]:
        """Writes everything except the manifest, and returns the manifest's contents."""
        config = self._config
        self._write_users()
        write_csv(self._out / "items.csv", item_table(self._items))
        for hour, count in enumerate(config.impressions_by_hour()):
            self._simulator.start_hour(hour, config.start_ms + hour * HOUR_MS)
            parts = config.slices(count)
            for part in range(parts):
                size = count * (part + 1) // parts - count * part // parts
                self._write_slice(size, hour, part, parts)
                if progress is not None:
                    progress(self._counts["impressions"], config.impressions)
            self._write_clicks(hour)
        # The hour after the log has the clicks on its last impressions, so it always exists.
        for hour in sorted({config.hours, *self._pending}):
            self._write_clicks(hour)
        counts = {**self._counts, "sessions": self._simulator.sessions}
        counts |= {"users": len(self._users.age) + self._bots, "items": len(self._items.number)}
        return {
            "counts": counts,
            "dirt": dict(self._dirt.counts),
            "best_reachable": self._best.figures(),
        }

    def _write_slice(self, size: int, hour: int, part: int, parts: int) -> None:
        config, first = self._config, self._counts["impressions"]
        start_ms = config.start_ms + hour * HOUR_MS
        rows = self._simulator.simulate_slice(size, hour, part, parts, start_ms)
        table = impression_table(rows, first, self._items)
        last = hour == config.hours - 1
        lines = self._dirt.impression_lines(table, hour, part, last_hour=last)
        write_lines(hour_folder(self._out, "impressions", start_ms), part, lines)
        truth = {
            "impression_id": table.column("impression_id"),
            "click_probability": rows.probability,
        }
        write_parquet(
            self._out / "truth" / f"part-{self._truth_parts:05d}.parquet", pa.table(truth)
        )
        self._truth_parts += 1
        self._best.add(rows.attributed, rows.probability)
        self._keep_clicks(self._dirt.clicks(rows, first, hour, part))
        self._counts["impressions"] += size
        self._counts["impression_lines"] += len(lines)
        self._counts["clicks"] += int((rows.click_ms > 0).sum())
        self._counts["attributed_clicks"] += int(rows.attributed.sum())

    def _keep_clicks(self, clicks: Clicks) -> None:
        """Keeps clicks for their own hours, and writes an hour's part once it is full."""
        hours = (clicks.timestamp_ms - self._config.start_ms) // HOUR_MS
        for hour in np.unique(hours).tolist():
            self._pending.setdefault(hour, []).append(clicks.take(np.flatnonzero(hours == hour)))
            if sum(len(kept.click) for kept in self._pending[hour]) >= _CLICK_PART_ROWS:
                self._write_clicks(hour)

    def _write_clicks(self, hour: int) -> None:
        """Writes the clicks kept for an hour; an hour without clicks gets an empty part."""
        kept = self._pending.pop(hour, [])
        part = self._click_parts.get(hour, 0)
        if not kept and part:
            return
        empty = np.zeros(0, dtype=np.int64)
        clicks = Clicks.concat([Clicks(empty, empty, empty), *kept])
        start_ms = self._config.start_ms + hour * HOUR_MS
        folder = hour_folder(self._out, "clicks", start_ms)
        for begin in range(0, max(1, len(clicks.click)), _CLICK_PART_ROWS):
            some = clicks.take(slice(begin, begin + _CLICK_PART_ROWS))
            lines = self._dirt.click_lines(some, hour, part)
            write_lines(folder, part, lines)
            self._counts["click_lines"] += len(lines)
            part += 1
        self._click_parts[hour] = part

    def _write_users(self) -> None:
        """Writes the people, then the bots' accounts, which look alike."""
        config = self._config
        rng = random_stream(config.seed, USER_DIRT)
        people = user_table(self._users, 0, config.dirt, rng, self._dirt)
        bots = make_users(self._bots, config.start_ms, config.model, rng)
        bot_accounts = user_table(bots, len(self._users.age), config.dirt, rng, self._dirt)
        write_parquet(self._out / "users.parquet", pa.concat_tables([people, bot_accounts]))


def impression_table(rows: Impressions, first: int, items: Items) -> pa.Table:
    """Returns impression records; `first` is the number of the first impression."""
    columns = {
        "impression_id": prefixed("i", first + np.arange(len(rows))),
        "session_id": prefixed("s", rows.session),
        "user_id": prefixed("u", rows.user),
        "item_id": prefixed("item_", items.number[rows.item]),
        "position": pa.array(rows.position),
        "device": labels(DEVICES, rows.device),
        "surface": labels(SURFACES, rows.surface),
        "timestamp_ms": pa.array(rows.timestamp_ms),
    }
    return pa.table(columns)


def item_table(items: Items) -> pa.Table:
    """Returns items.csv, in order of item number."""
    order = np.argsort(items.number)
    categories = tuple(f"cat_{c:03d}" for c in range(len(items.category_start) - 1))
    brands = tuple(f"brand_{b:02d}" for b in range(int(items.brand.max()) + 1))
    columns = {
        "item_id": prefixed("item_", items.number[order]),
        "category": labels(categories, items.category[order]),
        "brand": labels(brands, items.brand[order]),
        "price": pa.array(items.price[order]),
        "listed_ms": pa.array(items.listed_ms[order]),
    }
    return pa.table(columns)


def user_table(
    users: Users, first: int, dirt: Dirt, rng: np.random.Generator, made: DirtMaker
) -> pa.Table:
    """Returns users.parquet, with some ages and genders missing; `first` is the first number."""
    count = len(users.age)
    no_age = rng.random(count) < dirt.null_age
    no_gender = rng.random(count) < dirt.null_gender
    made.counts["null_age"] += int(no_age.sum())
    made.counts["null_gender"] += int(no_gender.sum())
    gender = labels(GENDERS, users.gender).to_numpy(zero_copy_only=False)
    columns = {
        "user_id": prefixed("u", first + np.arange(count)),
        "age": pa.array(users.age.astype(np.int32), mask=no_age),
        "gender": pa.array(gender, pa.string(), mask=no_gender),
        "country": labels(COUNTRIES, users.country),
        "membership": labels(MEMBERSHIPS, users.membership),
        "signup_ms": pa.array(users.signup_ms),
    }
    return pa.table(columns)
