"""The payments of a day: those of cardholders, of thieves with one card, and of rings."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from applications.fraud.sample_data.world import (
    COUNTRY_NAMES,
    RISKY,
    TRAFFIC,
    Devices,
    Floats,
    Indices,
    World,
    random_stream,
)

DAY_MS = 24 * 3_600_000
_MINUTE_MS = 60_000
# Payments by hour of the day; most in the afternoon and the evening.
_BY_HOUR = np.array(
    [3, 2, 1, 1, 1, 2, 4, 7, 9, 10, 11, 13, 14, 12, 11, 11, 12, 14, 15, 14, 12, 9, 7, 5], float
)
_NEW_PHONE, _ABROAD, _ELSEWHERE, _SPREE = 0.001, 0.006, 0.08, 0.004


@dataclasses.dataclass(frozen=True)
class Rates:
    """Numbers of attacks for each thousand genuine payments, and their shape."""

    stolen: float = 0.9
    rings: float = 0.16
    stolen_payments: tuple[int, int] = (3, 9)
    ring_cards: tuple[int, int] = (4, 9)


@dataclasses.dataclass(frozen=True)
class Payments:
    """Payments in order of time; indices of the world, [payments] each. Amounts are in cents."""

    time_ms: Indices
    card: Indices
    merchant: Indices
    device: Indices
    network: Indices
    country: Indices
    amount: Indices


def payments_of_day(
    world: World, devices: Devices, day: int, start_ms: int, count: int, rates: Rates, seed: int
) -> Payments:
    """Draws the payments of a day.

    Args:
      world: Cards, merchants and networks.
      devices: Devices so far; new ones are added.
      day: Number of the day in the log.
      start_ms: Start of the day, in epoch milliseconds.
      count: Number of genuine payments.
      rates: How many attacks there are.
      seed: Seed of the log.
    """
    rng = random_stream(seed, TRAFFIC, day)
    parts = [_genuine(world, devices, start_ms, count, rng)]
    parts += [
        _stolen(world, devices, day, start_ms, rates, rng)
        for _ in range(rng.poisson(rates.stolen * count / 1000))
    ]
    parts += [
        _ring(world, devices, day, start_ms, rates, rng)
        for _ in range(rng.poisson(rates.rings * count / 1000))
    ]
    columns: dict[str, Any] = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in dataclasses.fields(Payments)
    }
    kept = columns["time_ms"] < start_ms + DAY_MS
    order = np.argsort(columns["time_ms"][kept], kind="stable")
    return Payments(**{name: values[kept][order] for name, values in columns.items()})


def _genuine(
    world: World, devices: Devices, start_ms: int, count: int, rng: np.random.Generator
) -> Payments:
    card = rng.choice(world.cards, count, p=world.card_activity)
    sprees = rng.choice(card, rng.binomial(count, _SPREE)) if count else card[:0]
    card = np.concatenate([card, np.repeat(sprees, 3)])
    hour = rng.choice(24, len(card), p=_BY_HOUR / _BY_HOUR.sum())
    time = start_ms + hour * 60 * _MINUTE_MS + rng.integers(0, 60 * _MINUTE_MS, len(card))
    shopping = np.repeat(time[:0], 0)
    if len(sprees):  # three payments within half an hour
        begin = start_ms + rng.integers(0, DAY_MS - 40 * _MINUTE_MS, len(sprees))
        shopping = np.repeat(begin, 3) + rng.integers(0, 30 * _MINUTE_MS, 3 * len(sprees))
        time[count:] = shopping
    abroad = rng.random(len(card)) < _ABROAD
    country = np.where(
        abroad, rng.integers(0, len(COUNTRY_NAMES), len(card)), world.card_country[card]
    )
    elsewhere = abroad | (rng.random(len(card)) < _ELSEWHERE)
    network = np.where(
        elsewhere, rng.integers(0, world.networks, len(card)), world.card_network[card]
    )
    for one in card[rng.random(len(card)) < _NEW_PHONE]:
        devices.renew(int(one))
    amount = world.card_amount[card] * np.exp(rng.normal(0, 0.55, len(card)))
    return Payments(
        time,
        card,
        rng.choice(world.merchants, len(card), p=world.merchant_share),
        devices.of_card[card],
        network,
        country,
        _cents(amount),
    )


def _risky_merchants(world: World, day: int, size: int, rng: np.random.Generator) -> Indices:
    """Draws merchants of the categories that thieves like in these two weeks."""
    liked = [RISKY[(day // 14 + place) % len(RISKY)] for place in range(2)]
    there = np.flatnonzero(np.isin(world.merchant_category, liked))
    return rng.choice(there if len(there) else world.merchants, size)


def _bad_network(world: World, rng: np.random.Generator) -> int:
    return int(rng.choice(world.networks, p=world.network_risk**2 / (world.network_risk**2).sum()))


def _stolen(
    world: World, devices: Devices, day: int, start_ms: int, rates: Rates, rng: np.random.Generator
) -> Payments:
    """Draws a burst of payments with one card, from another device."""
    card, size = int(rng.integers(world.cards)), int(rng.integers(*rates.stolen_payments))
    network = _bad_network(world, rng)
    steps = rng.exponential(6 * _MINUTE_MS, size).cumsum()
    home = world.card_country[card]
    country = home if rng.random() < 0.4 else int(world.network_country[network])
    factor = np.exp(rng.normal(1.1, 0.5, size))
    return Payments(
        start_ms + int(rng.integers(DAY_MS)) + steps.astype(np.int64),
        np.full(size, card),
        _risky_merchants(world, day, size, rng),
        np.full(size, devices.of_thieves()),
        np.full(size, network),
        np.full(size, country),
        _cents(world.card_amount[card] * factor),
    )


def _ring(
    world: World, devices: Devices, day: int, start_ms: int, rates: Rates, rng: np.random.Generator
) -> Payments:
    """Draws payments with several cards from one device and one network, within some hours."""
    cards = rng.choice(world.cards, int(rng.integers(*rates.ring_cards)), replace=False)
    card = np.repeat(cards, rng.integers(1, 4, len(cards)))
    size, network = len(card), _bad_network(world, rng)
    within = rng.integers(0, int(rng.integers(60, 360)) * _MINUTE_MS, size)
    factor = np.exp(rng.normal(0.7, 0.5, size))
    return Payments(
        start_ms + int(rng.integers(DAY_MS // 2)) + within,
        card,
        _risky_merchants(world, day, size, rng),
        np.full(size, devices.of_thieves()),
        np.full(size, network),
        np.full(size, int(world.network_country[network])),
        _cents(world.card_amount[card] * factor),
    )


def _cents(amount: Floats) -> Indices:
    return np.maximum(50, np.round(amount)).astype(np.int64)
