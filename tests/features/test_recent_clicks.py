"""Recent clicks against lists made by hand, on real Spark."""

from __future__ import annotations

import random

import pytest
from pyspark.sql import SparkSession

from features.recent_clicks import RecentClicks, add_recent_clicks
from features.window_features import HOUR_MS

pytestmark = pytest.mark.component

RECENT = RecentClicks("recent", ("user",), ("item", "category"), length=3, hours=2)
SCHEMA = "id int, user string, item string, category string, timestamp_ms long, click_ms long"


def compute(spark: SparkSession, rows: list[tuple]) -> dict[int, dict]:
    frame = spark.createDataFrame(rows, SCHEMA)
    result = add_recent_clicks(frame, "click_ms", RECENT)
    new = {*RECENT.list_columns(), RECENT.hours_column()}
    assert set(result.columns) == {*frame.columns, *new}
    return {row["id"]: row.asDict() for row in result.collect()}


def test_equal_to_lists_made_by_hand(spark: SparkSession) -> None:
    chance = random.Random(6)
    rows = []
    for number in range(300):
        time = chance.randrange(400)  # many ties
        click = time + chance.randrange(1, 40) if chance.random() < 0.4 else None
        item = chance.randrange(9)
        rows.append((number, f"u{chance.randrange(4)}", f"i{item}", f"c{item % 3}", time, click))
    result = compute(spark, rows)
    assert len(result) == len(rows)
    for number, user, _, _, time, _ in rows:
        clicks = sorted(
            (other[5], other[2], other[3])
            for other in rows
            if other[1] == user and other[5] is not None and other[5] < time
        )
        recent = clicks[::-1][:3]
        got = result[number]
        assert got["recent_item"] == [item for _, item, _ in recent]
        assert got["recent_category"] == [category for _, _, category in recent]
        hours = [(time - click) / HOUR_MS for click, _, _ in recent]
        assert got["recent_hours"] == pytest.approx(hours)


def test_without_a_click_before_it_lists_are_empty(spark: SparkSession) -> None:
    rows = [(1, "u", "i", "c", 0, 30), (2, "u", "i", "c", 30, None), (3, "v", "i", "c", 50, None)]
    for row in compute(spark, rows).values():
        assert row["recent_item"] == row["recent_category"] == row["recent_hours"] == []


def test_the_most_recent_click_is_first(spark: SparkSession) -> None:
    rows = [
        (1, "u", "a", "x", 0, 90),
        (2, "u", "b", "y", 10, 20),
        (3, "u", "c", None, 100 + HOUR_MS, None),
    ]
    row = compute(spark, rows)[3]
    assert row["recent_item"] == ["a", "b"]
    assert row["recent_category"] == ["x", "y"]
    assert row["recent_hours"] == pytest.approx([1 + 10 / HOUR_MS, 1 + 80 / HOUR_MS])


def test_clicks_of_too_long_ago_are_forgotten(spark: SparkSession) -> None:
    rows = [
        (1, "u", "a", "x", 0, HOUR_MS - 1),
        (2, "u", "b", "y", 0, HOUR_MS),
        (3, "u", "c", "z", 4 * HOUR_MS - 1, None),  # hours=2: from the begin of hour 1 on
    ]
    assert compute(spark, rows)[3]["recent_item"] == ["b"]
