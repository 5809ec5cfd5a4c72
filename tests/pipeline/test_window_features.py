"""Window features against a count by hand, on real Spark."""

from __future__ import annotations

import random

import pytest
from pyspark.sql import SparkSession

from pipeline.window_features import Smoothing, WindowFeature, add_window_features

pytestmark = pytest.mark.component

WINDOWS = {"short": 10, "long": 100}
BY_USER = WindowFeature("user", ("user",), WINDOWS)
BY_PAIR = WindowFeature("pair", ("user", "item"), WINDOWS)
SMOOTHING = Smoothing(prior=0.1, strength=5)
SCHEMA = "id int, user string, item string, timestamp_ms long, click_ms long"


def compute(spark: SparkSession, rows: list[tuple]) -> dict[int, dict]:
    frame = spark.createDataFrame(rows, SCHEMA)
    result = add_window_features(frame, "click_ms", [BY_USER, BY_PAIR], SMOOTHING)
    return {row["id"]: row.asDict() for row in result.collect()}


def by_hand(rows: list[tuple], row: tuple, same: slice, length: int) -> tuple[int, int]:
    """(impressions, clicks) of the same key in [t - length, t)."""
    start, end = row[3] - length, row[3]
    alike = [other for other in rows if other[same] == row[same]]
    shown = sum(start <= other[3] < end for other in alike)
    clicked = sum(other[4] is not None and start <= other[4] < end for other in alike)
    return shown, clicked


def test_equal_to_counting_by_hand(spark: SparkSession) -> None:
    chance = random.Random(5)
    rows = []
    for number in range(300):
        time = chance.randrange(400)  # many ties
        click = time + chance.randrange(1, 40) if chance.random() < 0.3 else None
        rows.append((number, f"u{chance.randrange(4)}", f"i{chance.randrange(3)}", time, click))
    result = compute(spark, rows)
    assert len(result) == len(rows)
    for row in rows:
        for name, same in (("user", slice(1, 2)), ("pair", slice(1, 3))):
            for window, length in WINDOWS.items():
                shown, clicked = by_hand(rows, row, same, length)
                got = result[row[0]]
                assert got[f"{name}_impressions_{window}"] == shown
                expected = (clicked + 5 * 0.1) / (shown + 5)
                assert got[f"{name}_ctr_{window}"] == pytest.approx(expected)


def test_an_impression_sees_neither_itself_nor_its_own_click_nor_its_equals(
    spark: SparkSession,
) -> None:
    result = compute(spark, [(1, "u", "i", 50, 51), (2, "u", "i", 50, None)])
    for row in result.values():
        assert row["user_impressions_long"] == 0
        assert row["user_ctr_long"] == pytest.approx(0.1)


def test_a_click_counts_from_the_moment_it_happens(spark: SparkSession) -> None:
    rows = [(1, "u", "i", 0, 30), (2, "u", "i", 20, None), (3, "u", "i", 31, None)]
    result = compute(spark, rows)
    assert result[2]["user_ctr_long"] == pytest.approx(0.5 / 6)
    assert result[3]["user_ctr_long"] == pytest.approx(1.5 / 7)


def test_the_window_closes_behind(spark: SparkSession) -> None:
    rows = [(1, "u", "i", 0, None), (2, "u", "i", 10, None), (3, "u", "i", 21, None)]
    result = compute(spark, rows)
    assert result[2]["user_impressions_short"] == 1  # [0, 10): exactly 10 ms ago still counts
    assert result[3]["user_impressions_short"] == 0
