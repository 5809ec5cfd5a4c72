"""Features of later rows, with the history of earlier spans, equal those of the whole log."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from base.section import ConfigError
from features.aggregations import Count, Distinct, Last, Sum
from features.batch import add_features
from features.groups import FeatureGroup
from features.history import history_of
from features.history_columns import COLUMNS
from tests.features.direct import direct_features
from tests.features.test_batch import DISPUTES, HOUR, PAYMENTS, declared, frame, payments, same

pytestmark = pytest.mark.component

SCHEMA = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
BEGIN = 1_700_000_000_000 // HOUR * HOUR


def kept(spark: SparkSession, folder: Path, *spans: DataFrame) -> DataFrame:
    """Returns histories after they were written and read."""
    for number, span in enumerate(spans):
        span.write.parquet(str(folder / str(number)))
    return spark.read.schema(SCHEMA).parquet(*(str(folder / str(n)) for n in range(len(spans))))


@pytest.mark.parametrize("seed", range(2))
def test_later_rows_see_the_whole_past(spark: SparkSession, tmp_path: Path, seed: int) -> None:
    """A dispute belongs to the span of its payment and may come many spans later."""
    chance = random.Random(seed)
    groups = [group for _ in range(2) for group in declared(chance) if group.tile != "24h"]
    groups = [*{group.name: group for group in groups}.values()]
    paid = payments(chance, 200)
    disputed = [
        (row[1] + chance.randrange(30 * HOUR), *row[2:5]) for row in paid if chance.random() < 0.4
    ]
    bounds = [BEGIN, BEGIN + 20 * HOUR, BEGIN + 35 * HOUR, BEGIN + 200 * HOUR]
    streams = {
        "payments": spark.createDataFrame(paid, PAYMENTS),
        "disputes": spark.createDataFrame(disputed, DISPUTES),
    }
    past = [
        history_of(groups, streams, begin, end, time="at", single=["disputes"])
        for begin, end in itertools.pairwise(bounds)
    ]
    history = kept(spark, tmp_path, *past)
    since = bounds[2]
    now = streams["payments"].where(F.col("at") >= since)
    computed = add_features(
        now, groups, {"payments": now}, identity="id", time="at", history=history, since_ms=since
    ).collect()
    found = {row["id"]: row.asDict() for row in computed}
    events = {"payments": frame(paid, PAYMENTS), "disputes": frame(disputed, DISPUTES)}
    expected = direct_features(events["payments"], groups, events, "at")
    later = [place for place, row in enumerate(paid) if row[1] >= since]
    assert found.keys() == {paid[place][0] for place in later}
    assert len(later) > 30
    for place in later:
        columns = found[paid[place][0]]
        for name, value in expected[place].items():
            assert same(columns[name], value), (paid[place], name, columns[name], value)
    assert history.where("at is not null").count() > 10


CARD = FeatureGroup("card", "payments", ("card",), ("2h",), (Count(), Last("shop")))
SINCE: dict[str, Any] = {"identity": "id", "time": "at", "since_ms": 2 * HOUR}


def one(spark: SparkSession, at: int) -> dict[str, DataFrame]:
    return {"payments": spark.createDataFrame([(str(at), at, "c", "s", 1.0, "d")], PAYMENTS)}


@pytest.mark.parametrize(
    "later",
    [
        FeatureGroup("shop", "payments", ("shop",), ("2h",), (Count(),)),  # other keys
        FeatureGroup("card", "payments", ("card",), ("2h",), (Sum("amount"),)),  # another part
        FeatureGroup("card", "payments", ("card",), ("2h",), (Count(),), where="amount > 5"),
        FeatureGroup("card", "payments", ("card",), ("2h",), (Count(),), tile="30m"),
    ],
)
def test_a_group_that_was_declared_later_is_an_error(
    spark: SparkSession, later: FeatureGroup
) -> None:
    """Its entities would seem to have no past."""
    history = history_of([CARD], one(spark, HOUR), HOUR, 2 * HOUR, time="at")
    rows = one(spark, 3 * HOUR)
    add_features(rows["payments"], [CARD], rows, history=history, **SINCE)
    expected = rf"feature group '{later.name}': the history of earlier hours was written without it"
    with pytest.raises(ConfigError, match=expected):
        add_features(rows["payments"], [later], rows, history=history, **SINCE)


def test_a_group_that_is_no_longer_declared_does_not_count(spark: SparkSession) -> None:
    shop = FeatureGroup("shop", "payments", ("shop",), ("2h",), (Count(),))
    history = history_of([CARD, shop], one(spark, HOUR), HOUR, 2 * HOUR, time="at")
    rows = one(spark, 3 * HOUR)
    (found,) = add_features(rows["payments"], [shop], rows, history=history, **SINCE).collect()
    assert found["shop_count_2h"] == 1


def test_rows_in_a_tile_of_the_history_are_an_error(spark: SparkSession) -> None:
    """Whether its events were earlier than the rows is no longer known."""
    history = history_of([CARD], one(spark, HOUR), HOUR, 2 * HOUR, time="at")
    rows = one(spark, HOUR + 5)
    found = add_features(rows["payments"], [CARD], rows, history=history, **SINCE)
    with pytest.raises(Exception, match="Received twice"):
        found.collect()


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (
            FeatureGroup("card", "payments", ("card",), ("24h",), (Count(),), tile="24h"),
            "needs tiles that divide an hour. Received: 24h",
        ),
        (
            FeatureGroup("card", "payments", ("card",), ("24h",), (Last("day"),)),
            "the column 'day' of the stream 'payments': a history keeps texts, numbers and "
            "booleans of first and last events. Received: timestamp; cast it in the ETL",
        ),
    ],
)
def test_what_a_history_cannot_keep(spark: SparkSession, group: FeatureGroup, message: str) -> None:
    rows = one(spark, HOUR)["payments"].withColumn("day", F.current_timestamp())
    with pytest.raises(ConfigError, match=message):
        history_of([group], {"payments": rows}, HOUR, 2 * HOUR, time="at")


def test_a_tile_has_one_row(spark: SparkSession) -> None:
    """However many events it has; sketches of equal values are equal."""
    rows = spark.createDataFrame(
        [(str(n), HOUR + n % 7, "c", f"s{n % 3}", 1.0, "d") for n in range(50)], PAYMENTS
    )
    group = FeatureGroup("card", "payments", ("card",), ("2h",), (Count(), Distinct("shop")))
    table = history_of([group], {"payments": rows}, HOUR, 2 * HOUR, time="at").collect()
    assert [row["key"] for row in table] == ["declared", "c"]
    assert [*table[1]["numbers"].values()] == [50.0]
    assert len(table[1]["sketches"]) == 1


def test_what_cannot_be_told_apart_is_an_error(spark: SparkSession) -> None:
    """An hour that is read twice would count twice, and a stream without events not at all."""
    history = history_of([CARD], one(spark, HOUR), HOUR, 2 * HOUR, time="at")
    rows = one(spark, 3 * HOUR)["payments"]
    with pytest.raises(ConfigError, match="an hour twice"):
        add_features(rows, [CARD], {}, history=history.unionByName(history), **SINCE)
    with pytest.raises(ConfigError, match="names the stream 'payments'"):
        add_features(rows, [CARD], {}, history=history, **SINCE)
    now = history_of(
        [CARD], one(spark, 2 * HOUR), 2 * HOUR, 3 * HOUR, time="at", single=["payments"]
    )
    with pytest.raises(ConfigError, match="needs since_ms"):
        add_features(rows, [CARD], {}, history=history, identity="id", time="at")
    (found,) = add_features(rows, [CARD], {}, history=history.unionByName(now), **SINCE).collect()
    assert found["card_count_2h"] == 2
