"""An ETL that has nothing to do with our application: readings of sensors."""

from __future__ import annotations

from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from components.spark_example_gen.rows import EtlContext, divide, dropped, quarantined


def build(spark: Any, sources: dict[str, DataFrame], context: EtlContext) -> DataFrame:
    readings = sources["readings"]
    limit = context.parameters.get("limit", 100)
    first = readings.dropDuplicates(["reading"])
    repeated = readings.exceptAll(first)
    good, bad = divide(first, F.when(F.col("value") > limit, "too_hot"))
    if "sensors" in sources:
        good = good.join(sources["sensors"], "sensor", "left")
    rows = good.unionByName(quarantined(bad), allowMissingColumns=True)
    return rows.unionByName(dropped(repeated, "duplicate"), allowMissingColumns=True)


def loses_rows(spark: Any, sources: dict[str, DataFrame], context: EtlContext) -> DataFrame:
    return sources["readings"].where("value < 50")


def uses_unknown_column(
    spark: Any, sources: dict[str, DataFrame], context: EtlContext
) -> DataFrame:
    return sources["readings"].select("reading", "colour")


def returns_nested(spark: Any, sources: dict[str, DataFrame], context: EtlContext) -> DataFrame:
    return sources["readings"].withColumn("both", F.struct("sensor", "value"))


def as_they_are(spark: Any, sources: dict[str, DataFrame], context: EtlContext) -> DataFrame:
    return sources["readings"]


def without_time(spark: Any, sources: dict[str, DataFrame], context: EtlContext) -> DataFrame:
    return sources["readings"].select("reading", "sensor", "value")


def with_rooms(spark: Any, sources: dict[str, DataFrame], context: EtlContext) -> DataFrame:
    rows = sources["readings"].join(sources["sensors"], "sensor").join(sources["rooms"], "sensor")
    return rows.select("reading", "sensor", "value", "floor", "room")
