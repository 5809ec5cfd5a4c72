"""Feature groups that are not clicks, and random events for them: cards and machines."""

from __future__ import annotations

import random
from typing import Any

from features.aggregations import (
    Count,
    Distinct,
    First,
    Last,
    Max,
    Mean,
    Min,
    Rate,
    Sum,
    Variance,
)
from features.groups import FeatureGroup

NOW = 1_700_000_000_000
MINUTE, HOUR = 60_000, 3_600_000
PAYMENTS = (
    "payment_id string, at long, card string, shop string, amount double, country string, "
    "number long, foreign boolean"
)
DISPUTES = "at long, shop string"
READINGS = "reading_id string, at long, machine string, sensor int, celsius double, ok boolean"
# Valid in Spark SQL, and no code, quote or template where it is written down.
LARGE = 'amount > 50 -- \'""" + {{ 1 }}{% raw %} \\\n and true'

CARD = FeatureGroup(
    name="card",
    stream="payments",
    keys=("card",),
    windows=("1h", "24h"),
    aggregations=(
        Count(),
        Sum("amount"),
        Mean("amount", empty=-1.0),
        Variance("amount"),
        Min("amount"),
        Max("amount"),
        Distinct("shop"),
        Last(("country", "number", "foreign")),
    ),
)
LARGE_PAYMENTS = FeatureGroup(
    name="card",
    stream="payments",
    keys=("card",),
    windows=("3h",),
    aggregations=(Count("large"), First("number", 2, named=("first_large",))),
    where=LARGE,
)
SHOP = FeatureGroup(
    name="shop",
    stream="disputes",
    keys=("shop",),
    windows=("48h",),
    aggregations=(Rate(of="payments", prior=0.02, strength=10, name="dispute_rate"),),
    tile="24h",
)
HEAT = FeatureGroup(
    name="heat",
    stream="readings",
    keys=("machine", "sensor"),
    windows=("10m", "2h"),
    aggregations=(
        Mean("celsius"),
        Last(("celsius", "ok"), 3, hours="hours", named=("celsius", "ok")),
    ),
    where="celsius is not null and ok is not null",
    tile="10m",
)
GROUPS = (CARD, LARGE_PAYMENTS, SHOP, HEAT)


def payments(chance: random.Random, count: int) -> list[tuple[Any, ...]]:
    """Returns payments of 50 hours: ties, missing keys, amounts that are no numbers."""
    rows = []
    for number in range(count):
        at = NOW - chance.randrange(1, 50 * 60) * MINUTE
        card = chance.choice(["c0", "c1", "c2", "ä'\"", "", None])
        amount = chance.choice([None, float("nan"), chance.randrange(400) / 4, chance.random()])
        country, shop = chance.choice(["DE", "PL", None]), chance.choice(["s0", "s1", None])
        foreign = chance.choice([True, False, None])
        rows.append((f"p{number}", at, card, shop, amount, country, 2**53 - number, foreign))
    return [*rows, ("tie", *rows[0][1:])]


def disputes(chance: random.Random, count: int) -> list[tuple[Any, ...]]:
    """Returns disputes of the same days and shops."""
    return [
        (NOW - chance.randrange(1, 50 * 60) * MINUTE, chance.choice(["s0", "s1"]))
        for _ in range(count)
    ]


def readings(chance: random.Random, count: int) -> list[tuple[Any, ...]]:
    """Returns readings of three hours."""
    return [
        (
            f"r{number}",
            NOW - chance.randrange(1, 180 * 60) * 1000 - number % 7,
            chance.choice(["m0", "m1"]),
            chance.choice([1, 2]),
            chance.choice([None, chance.random() * 90]),
            chance.choice([True, False, None]),
        )
        for number in range(count)
    ]
