"""Window features against a count by hand on real Spark, and by the hour against the whole log."""

from __future__ import annotations

import random

import pytest
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StructType

from features.hourly_counts import hourly_counts
from features.recent_clicks import RecentClicks, add_recent_clicks, clicks_of
from features.window_features import (
    HOUR_MS,
    Smoothing,
    WindowFeature,
    add_window_features,
    hour_of,
)

pytestmark = pytest.mark.component

WINDOWS = {"short": 1, "long": 3}
BY_USER = WindowFeature("user", ("user",), WINDOWS)
BY_PAIR = WindowFeature("pair", ("user", "item"), WINDOWS)
SMOOTHING = Smoothing(prior=0.1, strength=5)
SCHEMA = "id int, user string, item string, timestamp_ms long, click_ms long"
HOURS = 7
EMPTY = 3  # an hour without events


def compute(spark: SparkSession, rows: list[tuple]) -> dict[int, dict]:
    frame = spark.createDataFrame(rows, SCHEMA)
    result = add_window_features(frame, "id", "click_ms", [BY_USER, BY_PAIR], SMOOTHING)
    return {row["id"]: row.asDict() for row in result.collect()}


def a_log(seed: int) -> list[tuple]:
    chance = random.Random(seed)
    rows = []
    for number in range(500):
        time = chance.randrange(HOURS * HOUR_MS // 60_000) * 60_000  # ties, and full hours
        if time // HOUR_MS == EMPTY:
            continue
        delay = chance.randrange(1, 60) * 60_000
        click = time + delay if chance.random() < 0.4 else None
        rows.append((number, f"u{chance.randrange(4)}", f"i{chance.randrange(3)}", time, click))
    edges = [(1000 + h, "u0", "i0", h * HOUR_MS, h * HOUR_MS + 1) for h in range(5, HOURS)]
    return rows + edges


def by_hand(rows: list[tuple], row: tuple, same: slice, hours: int) -> tuple[int, int]:
    """(impressions, clicks) of the same key from the begin of an hour up to the row."""
    start, end = (row[3] // HOUR_MS - hours) * HOUR_MS, row[3]
    alike = [other for other in rows if other[same] == row[same]]
    shown = sum(start <= other[3] < end for other in alike)
    clicked = sum(other[4] is not None and start <= other[4] < end for other in alike)
    return shown, clicked


def test_equal_to_counting_by_hand(spark: SparkSession) -> None:
    rows = a_log(5)
    result = compute(spark, rows)
    assert len(result) == len(rows)
    for row in rows:
        for name, same in (("user", slice(1, 2)), ("pair", slice(1, 3))):
            for window, hours in WINDOWS.items():
                shown, clicked = by_hand(rows, row, same, hours)
                got = result[row[0]]
                assert got[f"{name}_impressions_{window}"] == shown
                assert got[f"{name}_ctr_{window}"] == pytest.approx(SMOOTHING.rate(clicked, shown))


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


def test_the_window_closes_behind_by_the_hour(spark: SparkSession) -> None:
    noon = 12 * HOUR_MS
    rows = [
        (1, "u", "i", noon - 1, None),
        (2, "u", "i", noon, None),
        (3, "u", "i", noon + 2 * HOUR_MS - 1, None),
        (4, "u", "i", noon + 2 * HOUR_MS, None),
    ]
    result = compute(spark, rows)
    assert result[2]["user_impressions_short"] == 1
    assert result[3]["user_impressions_short"] == 1  # noon counts, not what was before
    assert result[4]["user_impressions_short"] == 1  # only the one just before


def test_hour_by_hour_gives_what_the_whole_log_gives(spark: SparkSession) -> None:
    features = [BY_USER, BY_PAIR]
    recent = RecentClicks("recent", ("user",), ("item",), length=3, hours=3)
    log = spark.createDataFrame(a_log(3), SCHEMA).cache()
    whole = add_recent_clicks(log, "click_ms", recent)
    whole = add_window_features(whole, "id", "click_ms", features, SMOOTHING)
    expected = {row["id"]: row.asDict() for row in whole.collect()}
    found: dict[int, dict] = {}
    counts: list[list[Row]] = []
    clicks: list[list[Row]] = []
    for hour in range(HOURS):
        rows = log.where(hour_of("timestamp_ms") == hour)
        # as if read from the files of the hours that the longest window reaches, and one more:
        # a click may be of an impression of the hour before
        before, clicked = counts[-4:], clicks[-4:]
        history = _together(spark, before, hourly_counts(rows, "click_ms", features).schema)
        earlier = _together(spark, clicked, clicks_of(rows, "click_ms", recent).schema)
        got = add_recent_clicks(rows, "click_ms", recent, earlier)
        got = add_window_features(got, "id", "click_ms", features, SMOOTHING, history)
        found |= {row["id"]: row.asDict() for row in got.collect()}
        counts.append(hourly_counts(rows, "click_ms", features).collect())
        clicks.append(clicks_of(rows, "click_ms", recent).collect())
    assert found.keys() == expected.keys()
    for number, row in expected.items():
        assert found[number] == row, number


def _together(spark: SparkSession, tables: list[list[Row]], schema: StructType) -> DataFrame:
    return spark.createDataFrame([row for table in tables for row in table], schema)


def test_counts_of_an_hour(spark: SparkSession) -> None:
    rows = [
        (1, "u", "i", 5, 7),
        (2, "u", "i", 9, None),
        (3, "u", "j", 9, HOUR_MS + 4),
        (4, "u", "j", 9, HOUR_MS + 4),
    ]
    frame = spark.createDataFrame(rows, SCHEMA)
    counted = hourly_counts(frame, "click_ms", [BY_USER, BY_PAIR])
    pairs = counted.where(F.col("feature") == "pair").drop("feature")
    assert sorted(tuple(row) for row in pairs.collect()) == [
        ("i", "u", 0, 2, 1),
        ("j", "u", 0, 2, 0),
        ("j", "u", HOUR_MS + 4, 0, 2),  # the moment counts for the hour it lies in
    ]
    users = counted.where(F.col("feature") == "user").drop("feature")
    assert sorted(tuple(row)[1:] for row in users.collect()) == [
        ("u", 0, 4, 1),
        ("u", HOUR_MS + 4, 0, 2),
    ]
