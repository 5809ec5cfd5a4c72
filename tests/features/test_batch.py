"""Features of the past in Spark against a direct computation, for random logs and declarations."""

from __future__ import annotations

import math
import random
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from base.section import ConfigError
from features.aggregations import (
    Aggregation,
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
from features.batch import add_features
from features.groups import FeatureGroup
from tests.features.direct import direct_features

pytestmark = pytest.mark.component

PAYMENTS = "id string, at long, card string, shop string, amount double, device string"
DISPUTES = "at long, card string, shop string, amount double"
HOUR = 3_600_000
ODD = [None, math.nan, math.inf, -math.inf, 0.0, 1e9]
NAMES = ["a", "b", None, "3:x", "<b>", "ä", ""]
COUNTS = FeatureGroup("card", "payments", ("card",), ("1h",), (Count(),))
SPANS = {"10m": ("10m", "30m", "2h"), "1h": ("1h", "3h", "24h"), "24h": ("24h", "48h")}


def payments(chance: random.Random, count: int) -> list[tuple[Any, ...]]:
    """Returns events with ties, gaps, missing keys and values that are no numbers."""
    rows: list[tuple[Any, ...]] = []
    for number in range(count):
        at = 1_700_000_000_000 + chance.randrange(50 * 60) * 60_000
        amount = chance.choice(ODD) if chance.random() < 0.2 else chance.randrange(1000) / 4
        card, shop = chance.choice(["c0", "c1", None]), chance.choice(NAMES)
        rows.append((str(number), at, card, shop, amount, chance.choice(["ios", "web", None])))
    return rows


def disputes(chance: random.Random, of: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Returns outcomes of some payments, later than these."""
    some = [row for row in of if chance.random() < 0.3]
    return [(row[1] + chance.randrange(30 * HOUR), *row[2:5]) for row in some]


def declared(chance: random.Random) -> list[FeatureGroup]:
    """Returns groups of either stream, keys, tiles and conditions."""
    choices: list[Aggregation] = [
        Count(),
        Sum("amount"),
        Mean("amount", empty=-1.0),
        Min("amount"),
        Max("amount"),
        Variance("amount"),
        Distinct("shop"),
    ]
    ends: list[Aggregation] = [
        Last("shop"),
        Last(("amount", "shop"), 3, hours="hours", named=("amounts", "shops")),
        First("shop", 2, named=("first_shops",)),
    ]
    groups = []
    for number in range(4):
        tile = chance.choice([*SPANS])
        stream = chance.choice(["payments", "disputes"])
        of: list[Aggregation] = chance.sample(choices, 4)
        of += [chance.choice(ends), Rate("payments", prior=0.02, strength=10)]
        keys = chance.choice([("card",), ("shop",), ("card", "shop")])
        windows = tuple(chance.sample(SPANS[tile], 2))
        where = chance.choice([None, "amount > 50"])
        groups.append(FeatureGroup(f"g{number}", stream, keys, windows, tuple(of), where, tile))
    return groups


def frame(rows: list[tuple[Any, ...]], schema: str) -> pd.DataFrame:
    names = [column.split()[0] for column in schema.split(", ")]
    return pd.DataFrame(rows, columns=names, dtype=object)


@pytest.mark.parametrize("seed", range(3))
def test_spark_gives_what_a_direct_computation_gives(spark: SparkSession, seed: int) -> None:
    chance = random.Random(seed)
    paid = payments(chance, 150)
    disputed = disputes(chance, paid)
    groups = declared(chance)
    rows = spark.createDataFrame(paid, PAYMENTS)
    streams = {"payments": rows, "disputes": spark.createDataFrame(disputed, DISPUTES)}
    computed = add_features(rows, groups, streams, identity="id", time="at").collect()
    found = {row["id"]: row.asDict() for row in computed}
    events = {"payments": frame(paid, PAYMENTS), "disputes": frame(disputed, DISPUTES)}
    expected = direct_features(events["payments"], groups, events, "at")
    assert found.keys() == {row[0] for row in paid}
    for row, columns in zip(paid, expected, strict=True):
        for name, value in columns.items():
            assert same(found[row[0]][name], value), (row, name, found[row[0]][name], value)


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, float) and found is not None:
        if math.isnan(expected):
            return math.isnan(found)
        return found == pytest.approx(expected, rel=1e-6, abs=1e-9)
    return bool(found == expected)


def test_rows_need_not_be_events(spark: SparkSession) -> None:
    """A request asks for features in this way: it is not part of any past."""
    rows = spark.createDataFrame(
        [("q", 10 * HOUR, "c"), ("other", 10 * HOUR, "d")], "id string, at long, card string"
    )
    events = spark.createDataFrame([(9 * HOUR, "c"), (10 * HOUR, "c")], "at long, card string")
    found = add_features(rows, [COUNTS], {"payments": events}, identity="id", time="at")
    assert {row["id"]: row["card_count_1h"] for row in found.collect()} == {"q": 1, "other": 0}


def test_an_id_that_occurs_twice_is_an_error(spark: SparkSession) -> None:
    """Its features would be those of either row."""
    rows = spark.createDataFrame(
        [("a", 10 * HOUR, "c"), ("a", 99 * HOUR, "c"), ("b", HOUR, None)],
        "id string, at long, card string",
    )
    found = add_features(rows, [COUNTS], {"payments": rows}, identity="id", time="at")
    with pytest.raises(Exception, match=r"expected unique values of id\. Received twice: a"):
        found.collect()


def test_a_column_may_be_named_as_those_of_the_computation(spark: SparkSession) -> None:
    """A time in a column of an event is not taken for the time of the event."""
    schema = "id string, at long, card string, ms long, _row long, _key string, _event_ms long"
    rows = spark.createDataFrame(
        [("a", HOUR, "c", 5, 6, "k", 7), ("b", HOUR + 1, "c", 8, 9, "l", 10)], schema
    )
    of = (Sum("ms"), Last("_row"), Last("_key"))
    group = FeatureGroup("card", "payments", ("card",), ("1h",), of)
    found = add_features(rows, [group], {"payments": rows}, identity="id", time="at")
    row = found.where("id = 'b'").first()
    assert row is not None
    columns = ("card_sum_ms_1h", "card_last__row_1h", "card_last__key_1h", "_event_ms")
    assert [row[name] for name in columns] == [5.0, 6, "k", 10]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("id string, at long", "need the column 'card' of the rows. Expected one of: at, id"),
        ("id string, card string", "need the column 'at' of the rows. Expected one of: card, id"),
        (
            "id string, at long, card string, card_count_1h long",
            "feature group 'card' produces the column 'card_count_1h', which the rows have already",
        ),
    ],
)
def test_rows_that_do_not_fit_are_one_line(spark: SparkSession, columns: str, message: str) -> None:
    events = spark.createDataFrame([], "at long, card string")
    rows = spark.createDataFrame([], columns)
    with pytest.raises(ConfigError, match=message):
        add_features(rows, [COUNTS], {"payments": events}, identity="id", time="at")


def test_events_are_computed_and_shuffled_once(spark: SparkSession) -> None:
    """Tiles and rows read the same events; Spark must see that it is the same shuffle."""
    rows = spark.createDataFrame(payments(random.Random(5), 40), PAYMENTS)
    found = add_features(rows, [COUNTS], {"payments": rows}, identity="id", time="at")
    found.collect()
    plan = found._jdf.queryExecution().executedPlan().toString()
    assert "ReusedExchange" in plan.partition("Initial Plan")[0]
