"""Cards, merchants, devices and networks, with what only the simulator knows about them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import base.arrow  # noqa: F401
from applications.fraud.places import COUNTRIES
from applications.sample_files.log_writer import labels, prefixed

COUNTRY_NAMES = tuple(COUNTRIES)
_COUNTRY_SHARES = np.array([22, 5, 6, 9, 9, 8, 9, 5, 4, 4, 9, 4, 3, 3]) / 100
CATEGORIES = (
    "groceries", "restaurants", "fuel", "clothes", "pharmacy", "travel", "hotels", "streaming",
    "furniture", "toys", "electronics", "jewellery", "gift_cards", "games", "crypto",
)  # fmt: skip
_CATEGORY_SHARES = np.array([20, 16, 8, 9, 6, 5, 4, 7, 3, 3, 7, 2, 3, 5, 2]) / 100
RISKY = (10, 11, 12, 13, 14)  # indices of the categories that thieves like
KINDS = ("residential", "mobile", "office", "hosting", "vpn")
_KIND_SHARES = np.array([50, 22, 14, 8, 6]) / 100
_KIND_RISK = np.array([0.06, 0.08, 0.05, 0.55, 0.65])
SYSTEMS = ("ios", "android", "windows", "macos", "emulator")
_SYSTEM_SHARES = np.array([32, 38, 19, 10, 1]) / 100
_FRAUD_SYSTEM_SHARES = np.array([8, 30, 22, 5, 35]) / 100

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

# Each purpose has its own random stream, so that switching dirt on does not change the clean rows.
WORLD, TRAFFIC, LABELS, REVIEWS, DIRT, CHARGEBACK_DIRT = range(6)


def random_stream(seed: int, purpose: int, *where: int) -> np.random.Generator:
    """Returns the generator for one purpose at one place (day) of the log."""
    return np.random.default_rng([seed, purpose, *where])


@dataclasses.dataclass(frozen=True)
class World:
    """Columns by index of a card, merchant or network.

    Attributes:
      card_country, card_network: Home of each card, an index, [cards].
      card_amount: Median amount of a card's payments, in cents, [cards].
      card_activity: Share of all genuine payments, [cards].
      merchant_category, merchant_country: Indices, [merchants].
      merchant_share: Share of all genuine payments, [merchants].
      network_kind, network_country: Indices, [networks].
      network_risk: True risk from 0 to 1, [networks].
      reputation: Published risk from 0 to 1, a noisy copy of the true one, [networks].
    """

    card_country: Indices
    card_network: Indices
    card_amount: Floats
    card_activity: Floats
    merchant_category: Indices
    merchant_country: Indices
    merchant_share: Floats
    network_kind: Indices
    network_country: Indices
    network_risk: Floats
    reputation: Floats

    @property
    def cards(self) -> int:
        return len(self.card_country)

    @property
    def merchants(self) -> int:
        return len(self.merchant_category)

    @property
    def networks(self) -> int:
        return len(self.network_kind)


def make_world(cards: int, merchants: int, networks: int, seed: int) -> World:
    """Draws a world. Activity follows Zipf's law with a flat head, as in real logs."""
    rng = random_stream(seed, WORLD)
    country = rng.choice(len(COUNTRY_NAMES), cards, p=_COUNTRY_SHARES)
    # A network of each country first, so that every card has one at home.
    network_country = np.arange(networks) % len(COUNTRY_NAMES)
    kind = rng.choice(len(KINDS), networks, p=_KIND_SHARES)
    kind[: len(COUNTRY_NAMES)] = 0
    risk = np.clip(_KIND_RISK[kind] + rng.normal(0, 0.06, networks), 0.0, 1.0)
    at_home = [np.flatnonzero((network_country == c) & (kind < 3)) for c in range(len(COUNTRIES))]
    home = np.array([rng.choice(at_home[c]) for c in country])
    return World(
        card_country=country,
        card_network=home,
        card_amount=np.exp(rng.normal(np.log(2_800), 0.6, cards)),
        card_activity=_zipf(cards, rng),
        merchant_category=rng.choice(len(CATEGORIES), merchants, p=_CATEGORY_SHARES),
        merchant_country=rng.choice(len(COUNTRY_NAMES), merchants, p=_COUNTRY_SHARES),
        merchant_share=_zipf(merchants, rng),
        network_kind=kind,
        network_country=network_country,
        network_risk=risk,
        reputation=np.round(np.clip(risk + rng.normal(0, 0.04, networks), 0.0, 1.0), 3),
    )


def _zipf(count: int, rng: np.random.Generator) -> Floats:
    weight = (rng.permutation(count) + 1 + count / 50.0) ** -0.7
    return np.asarray(weight / weight.sum())


class Devices:
    """The devices that payments were made with, each with its system.

    Every card has a device at first. Others come with new phones, and with thieves.
    """

    def __init__(self, cards: int, seed: int):
        self._rng = random_stream(seed, WORLD, 1)
        self.system = [*self._rng.choice(len(SYSTEMS), cards, p=_SYSTEM_SHARES)]
        self.of_card = np.arange(cards)

    def renew(self, card: int) -> int:
        """Gives a card a new device."""
        self.of_card[card] = self._add(_SYSTEM_SHARES)
        return int(self.of_card[card])

    def of_thieves(self) -> int:
        """Returns a new device that no card has used."""
        return self._add(_FRAUD_SYSTEM_SHARES)

    def _add(self, shares: Floats) -> int:
        self.system.append(int(self._rng.choice(len(SYSTEMS), p=shares)))
        return len(self.system) - 1

    def table(self) -> pa.Table:
        """Returns device and system."""
        number = np.arange(len(self.system))
        return pa.table(
            {"device": prefixed("d", number), "system": labels(SYSTEMS, np.array(self.system))}
        )


def merchant_table(world: World) -> pa.Table:
    """Returns merchant, category and country."""
    return pa.table(
        {
            "merchant": prefixed("m", np.arange(world.merchants)),
            "category": labels(CATEGORIES, world.merchant_category),
            "country": labels(COUNTRY_NAMES, world.merchant_country),
        }
    )


def network_table(world: World) -> pa.Table:
    """Returns network, kind and reputation (0 is good, 1 is bad)."""
    columns: dict[str, Any] = {
        "network": prefixed("n", np.arange(world.networks)),
        "kind": labels(KINDS, world.network_kind),
        "reputation": world.reputation,
    }
    return pa.table(columns)
