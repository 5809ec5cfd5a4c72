"""Spark's settings that depend on the data."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from spark_io.jobs.session import size_shuffles

KEY = "spark.sql.shuffle.partitions"


@pytest.fixture
def session(spark: SparkSession, monkeypatch) -> Iterator[SparkSession]:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    before = str(spark.conf.get(KEY))
    yield spark
    spark.conf.set(KEY, before)


@pytest.mark.parametrize(
    ("rows", "tasks"), [(0, 4), (1, 4), (1_000_000, 4), (1_000_001, 8), (10_000_000, 40)]
)
def test_a_task_has_a_quarter_of_a_million_rows_at_most(session, rows: int, tasks: int) -> None:
    size_shuffles(session, {"master": "local[2]", "conf": {}}, rows)
    assert session.conf.get(KEY) == str(tasks)


@pytest.mark.parametrize(
    "settings",
    [
        {"master": "local[2]", "conf": {KEY: "7"}},
        {"master": "spark://host:7077", "conf": {}},
    ],
)
def test_a_users_number_and_a_clusters_stay(session, settings) -> None:
    before = session.conf.get(KEY)
    size_shuffles(session, settings, 10_000_000)
    assert session.conf.get(KEY) == before
