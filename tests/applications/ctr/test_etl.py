"""The CTR ETL on real Spark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ValidationError
from pyspark.sql import DataFrame, SparkSession

from applications.ctr import etl
from applications.ctr.features import FEATURES
from spark_io.examples.rows import OUTCOME, REASON, EtlContext
from spark_io.sources.outcomes import Outcome

pytestmark = pytest.mark.component

NOON = 1_709_294_400_000  # Friday 2024-03-01T12 UTC
MINUTE = 60_000
IMPRESSIONS = (
    "impression_id string, session_id string, user_id string, item_id string, position int, "
    "device string, surface string, timestamp_ms long"
)


def impression(number: str, **changes: Any) -> tuple:
    row = {
        "impression_id": number,
        "session_id": "s1",
        "user_id": "u1",
        "item_id": "i1",
        "position": 1,
        "device": "mobile",
        "surface": "home",
        "timestamp_ms": NOON,
    }
    return tuple((row | changes).values())


@pytest.fixture
def build(spark: SparkSession):
    """Returns a function that runs the ETL: rows by impression id, and reasons of the others."""

    def run(impressions: list[tuple], clicks: Sequence[tuple] = (), **parameters: Any):
        sources: dict[str, DataFrame] = {
            "impressions": spark.createDataFrame(impressions, IMPRESSIONS),
            "clicks": spark.createDataFrame(
                list(clicks), "click_id string, impression_id string, timestamp_ms long"
            ),
            "users": spark.createDataFrame(
                [
                    ("u1", 30, "f", "de", "gold"),
                    ("u2", None, None, None, None),
                    ("u3", 999, "f", "de", "none"),
                ],
                "user_id string, age int, gender string, country string, membership string",
            ),
            "items": spark.createDataFrame(
                [("i1", "books", "b", 10.0, NOON - 3_600_000), ("i2", "books", "b", 30.0, NOON)],
                "item_id string, category string, brand string, price double, listed_ms long",
            ),
        }
        clicked = Outcome("impressions", "impression_id", "30m")
        context = EtlContext(parameters, (0,), 0, {"clicks": clicked})
        result = etl.build_examples(spark, sources, context).collect()
        rows = {r["impression_id"]: r.asDict() for r in result if r[OUTCOME] is None}
        refused = sorted(r[REASON] for r in result if r[OUTCOME] is not None)
        return rows, refused

    return run


# The plan is large and takes seconds even for an empty table, so each test runs it once.


def test_a_click_within_the_window_is_the_label(build) -> None:
    rows, _ = build(
        [impression("a"), impression("b"), impression("c"), impression("d")],
        [
            ("c1", "a", NOON + MINUTE),
            ("c5", "a", NOON + 2 * MINUTE),  # a second click adds no row
            ("c2", "b", NOON + 31 * MINUTE),  # too late
            ("c3", "c", NOON - 1),  # before it was shown
            ("c4", "nobody", NOON),  # unknown impression
        ],
    )
    assert {name: row[FEATURES.label] for name, row in rows.items()} == {
        "a": 1,
        "b": 0,
        "c": 0,
        "d": 0,
    }


REJECTIONS: list[tuple[dict[str, Any], str]] = [
    ({"impression_id": None}, "missing_impression_id"),
    ({"session_id": None}, "missing_session_id"),
    ({"user_id": None}, "missing_user_id"),
    ({"item_id": None}, "missing_item_id"),
    ({"position": 0}, "impossible_position"),
    ({"position": 999}, "impossible_position"),
    ({"position": None}, "impossible_position"),
    ({"timestamp_ms": -5}, "impossible_timestamp"),
    ({"timestamp_ms": 1000}, "impossible_timestamp"),
    ({"timestamp_ms": 1000 * NOON}, "impossible_timestamp"),  # microseconds
    ({"item_id": "nothing"}, "unknown_item"),
]


def test_impossible_impressions_are_rejected_with_a_reason(build) -> None:
    bad = [impression(f"bad{n}", **changes) for n, (changes, _) in enumerate(REJECTIONS)]
    rows, refused = build([impression("good"), *bad])
    assert list(rows) == ["good"]
    assert refused == sorted(reason for _, reason in REJECTIONS)


def test_repeated_impressions_count_once(build) -> None:
    rows, refused = build(
        [impression("a"), impression("a"), impression("a", timestamp_ms=NOON + 9)]
    )
    assert rows["a"]["timestamp_ms"] == NOON
    assert refused == ["duplicate", "duplicate"]


def test_a_session_faster_than_a_person_is_rejected_as_a_whole(build) -> None:
    burst = [impression(f"b{n}", session_id="bot", timestamp_ms=NOON + 100 * n) for n in range(12)]
    calm = [
        impression(f"p{n}", session_id="person", timestamp_ms=NOON + MINUTE * n) for n in range(12)
    ]
    rows, refused = build([*burst, *calm], bot_impressions=10, bot_seconds=60)
    assert set(rows) == {f"p{n}" for n in range(12)}
    assert refused == ["bot_burst"] * 12


def test_unknown_values_are_imputed(build) -> None:
    rows, _ = build(
        [
            impression("known"),
            impression("empty", user_id="u2", device=None),
            impression("stranger", user_id="u9", surface=None),
            impression("methuselah", user_id="u3"),
        ]
    )
    assert (rows["known"]["age"], rows["known"]["gender"]) == (30.0, "f")
    assert rows["methuselah"]["age"] == 30.0
    for name in ("empty", "stranger"):
        row = rows[name]
        assert (row["age"], row["gender"], row["membership"]) == (30.0, "unknown", "unknown")
    assert rows["empty"]["device"] == rows["stranger"]["surface"] == "unknown"
    assert all(row[name] is not None for row in rows.values() for name in row if name[0] != "_")


def test_time_item_and_user_features(build) -> None:
    rows, _ = build(
        [
            impression("first"),
            impression("second", item_id="i2", timestamp_ms=NOON + MINUTE),
        ]
    )
    first, second = rows["first"], rows["second"]
    assert (first["hour_of_day"], first["day_of_week"]) == (12, 4)
    assert first["hour_cos"] == pytest.approx(-1)
    assert first["item_age_hours"] == pytest.approx(1)
    assert (first["price_to_category"], second["price_to_category"]) == (0.5, 1.5)
    assert (first["user_known"], second["user_known"]) == (0, 1)
    assert (second["user_impressions_1h"], second["item_impressions_1h"]) == (1, 0)
    assert second["category_impressions_24h"] == second["user_category_impressions_7d"] == 1


def test_an_impossible_price_counts_as_missing(spark: SparkSession) -> None:
    prices = {"fair": 10.0, "below": -5.0, "nan": float("nan"), "inf": float("inf"), "huge": 1e300}
    items = spark.createDataFrame(
        [(name, "books", "b", price, NOON) for name, price in prices.items()],
        "item_id string, category string, brand string, price double, listed_ms long",
    )
    found = {row["item_id"]: row for row in etl.catalogue(items).collect()}
    assert {name: row["price"] for name, row in found.items()} == {
        **dict.fromkeys(prices, 0.0),
        "fair": 10.0,
    }
    assert {row["price_to_category"] for row in found.values()} == {1.0}


def test_an_unknown_parameter_is_an_error(build) -> None:
    with pytest.raises(ValidationError, match="atribution_minutes"):
        build([impression("a")], atribution_minutes=5)
