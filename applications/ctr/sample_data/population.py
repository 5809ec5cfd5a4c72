"""Users and items, with columns of the tables and columns that only the simulator knows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from applications.ctr.sample_data.click_model import (
    AGE_BAND_STARTS,
    GENDERS,
    HOUR_MS,
    MEMBERSHIPS,
    SEGMENTS,
    ClickModel,
)

COUNTRIES = ("us", "de", "in", "br", "gb", "fr", "jp", "other")
_COUNTRY_SHARES = (0.34, 0.16, 0.14, 0.10, 0.09, 0.07, 0.05, 0.05)
_GENDER_SHARES = (0.49, 0.46, 0.05)
_MEMBERSHIP_SHARES = (0.6, 0.3, 0.1)
_NEW_ITEM_SHARE = 0.15
_YEAR_MS = 365 * 24 * HOUR_MS

# Each purpose has its own random stream, so that switching one on or off (mainly dirt) does not
# change the other draws, and thus the clean rows.
USERS, ITEMS, DRIFT, SESSIONS, DIRT, USER_DIRT, CLICK_DIRT = range(7)


def random_stream(seed: int, purpose: int, *where: int) -> np.random.Generator:
    """Returns the generator for one purpose at one place (hour, slice) of the log."""
    return np.random.default_rng([seed, purpose, *where])


@dataclass(frozen=True)
class Users:
    """Columns of length `users`; only the simulator knows the last two."""

    age: npt.NDArray[np.int16]
    gender: npt.NDArray[np.int8]
    country: npt.NDArray[np.int8]
    membership: npt.NDArray[np.int8]
    signup_ms: npt.NDArray[np.int64]
    activity: npt.NDArray[np.float64]
    clickiness: npt.NDArray[np.float32]

    @property
    def segment(self) -> npt.NDArray[np.int64]:
        """Index of age band x gender, 0..14."""
        band = np.searchsorted(np.array(AGE_BAND_STARTS), self.age, side="right")
        return band * len(GENDERS) + self.gender


def make_users(count: int, start_ms: int, model: ClickModel, rng: np.random.Generator) -> Users:
    """Draws `count` users who signed up in the three years before `start_ms`.

    Activity follows Zipf's law with a flat head, (rank + count / 100) ** -0.7. The most active user
    has ten times the mean activity, for any number of users.
    """
    rank = rng.permutation(count)
    age = np.clip(rng.gamma(9.0, 4.2, count), 16, 90).astype(np.int16)
    return Users(
        age=age,
        gender=rng.choice(len(GENDERS), count, p=_GENDER_SHARES).astype(np.int8),
        country=rng.choice(len(COUNTRIES), count, p=_COUNTRY_SHARES).astype(np.int8),
        membership=rng.choice(len(MEMBERSHIPS), count, p=_MEMBERSHIP_SHARES).astype(np.int8),
        signup_ms=start_ms - rng.integers(HOUR_MS, 3 * _YEAR_MS, count),
        activity=(rank + 1 + count / 100.0) ** -0.7,
        clickiness=(model.user_sd * rng.standard_normal(count)).astype(np.float32),
    )


@dataclass(frozen=True)
class Items:
    """Columns of length `items`, grouped by category; `number` is part of the public id.

    `category_start` has one more entry than there are categories. Category c has the items
    category_start[c] .. category_start[c + 1] - 1.
    """

    number: npt.NDArray[np.int64]
    category: npt.NDArray[np.int64]
    brand: npt.NDArray[np.int64]
    price: npt.NDArray[np.float64]
    price_in_category: npt.NDArray[np.float32]
    listed_ms: npt.NDArray[np.int64]
    exposure: npt.NDArray[np.float64]
    appeal: npt.NDArray[np.float32]
    category_start: npt.NDArray[np.int64]
    segment_category: npt.NDArray[np.float32]

    def exposure_until(self, now_ms: int) -> npt.NDArray[np.float64]:
        """Returns the cumulative exposure of items listed by `now_ms`, from 0; [items + 1]."""
        listed = np.where(self.listed_ms <= now_ms, self.exposure, 0.0)
        return np.concatenate([[0.0], np.cumsum(listed)])


def make_items(
    count: int, categories: int, start_ms: int, hours: int, model: ClickModel, seed: int
) -> Items:
    """Draws items; 15 % of them are listed during the log, the others before it."""
    rng = random_stream(seed, ITEMS)
    category = np.sort(np.arange(count) % categories)
    category_start = np.searchsorted(category, np.arange(categories + 1))
    rank = np.arange(count) - category_start[category]
    within = (rank + 10.0) ** -0.6
    within /= np.add.reduceat(within, category_start[:-1])[category]
    category_share = (np.arange(categories) + 4.0) ** -0.6
    price_mean = rng.normal(3.2, 0.8, categories)
    price_deviation = rng.standard_normal(count)
    category_effect = model.category_sd * rng.standard_normal(categories)
    listed_ms = start_ms - rng.integers(24 * HOUR_MS, _YEAR_MS, count)
    listed_later = start_ms + rng.integers(0, hours * HOUR_MS, count)
    # A category's first item is never new, so that no category is ever empty.
    is_new = (rng.random(count) < _NEW_ITEM_SHARE) & (rank > 0)
    return Items(
        number=rng.permutation(count),
        category=category,
        brand=rng.integers(0, min(60, max(5, count // 20)), count),
        price=np.round(np.exp(price_mean[category] + 0.5 * price_deviation), 2),
        price_in_category=price_deviation.astype(np.float32),
        listed_ms=np.where(is_new, listed_later, listed_ms),
        exposure=within * category_share[category],
        appeal=(category_effect[category] + model.item_sd * rng.standard_normal(count)).astype(
            np.float32
        ),
        category_start=category_start,
        segment_category=(
            model.segment_category_sd * rng.standard_normal((SEGMENTS, categories))
        ).astype(np.float32),
    )


class ItemDrift:
    """The popularity of items as an hourly autoregressive walk with a fixed long-run spread."""

    def __init__(self, items: int, model: ClickModel, seed: int) -> None:
        self._seed = seed
        self._keep = float(np.exp(-1.0 / model.drift_hours))
        self._step_sd = model.drift_sd * float(np.sqrt(1.0 - self._keep**2))
        start = random_stream(seed, DRIFT).standard_normal(items)
        self.effect: npt.NDArray[np.float64] = model.drift_sd * start

    def step(self, hour: int) -> None:
        """Moves to an hour, counted from the start of the log; must be called for each in order."""
        steps = random_stream(self._seed, DRIFT, hour).standard_normal(len(self.effect))
        self.effect = self._keep * self.effect + self._step_sd * steps
