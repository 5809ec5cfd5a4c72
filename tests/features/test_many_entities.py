"""How many different keys feature groups may have."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812

from base.section import ConfigError
from features.aggregations import Count
from features.batch import add_features
from features.groups import FeatureGroup
from tests.features.test_batch import HOUR

pytestmark = pytest.mark.component
MOST = 62


def groups_of(count: int) -> list[FeatureGroup]:
    """Returns groups, each with a key of its own."""
    names = [f"k{number}" for number in range(count)]
    return [FeatureGroup(name, "events", (name,), ("1h",), (Count(),)) for name in names]


def test_the_last_of_the_most_entities_counts_its_own_events(spark: SparkSession) -> None:
    groups = groups_of(MOST)
    same = [F.col("id").alias(group.name) for group in groups[:-1]]
    # All have a key of their own, but for the last group's, which both events have in common.
    rows = spark.createDataFrame([("a", HOUR), ("b", HOUR + 5)], "id string, at long")
    rows = rows.select("id", "at", *same, F.lit("both").alias(groups[-1].name))
    found = add_features(rows, groups, {"events": rows}, identity="id", time="at")
    counts = found.select("id", *(name for group in groups for name in group.column_names()))
    by_id = {row["id"]: [*row][1:] for row in counts.collect()}
    assert by_id == {"a": [0] * MOST, "b": [0] * (MOST - 1) + [1]}


def test_one_entity_more_is_an_error(spark: SparkSession) -> None:
    """Which entities take an event is a bit of a long each."""
    groups = groups_of(MOST + 1)
    columns = ", ".join(f"{group.name} string" for group in groups)
    rows = spark.createDataFrame([], f"id string, at long, {columns}")
    message = f"expected at most {MOST} different keys and tiles .* Received: {MOST + 1}"
    with pytest.raises(ConfigError, match=message):
        add_features(rows, groups, {"events": rows}, identity="id", time="at")
