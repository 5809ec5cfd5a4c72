"""An ETL that is unrelated to our applications: readings of sensors."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from spark_io.examples.rows import EtlContext, divide, dropped, quarantined


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


def changes_its_input(spark: Any, sources: dict[str, DataFrame], context: EtlContext) -> DataFrame:
    path = Path(sources["readings"].inputFiles()[0].removeprefix("file://"))
    rows = sources["readings"].persist()
    rows.count()
    path.write_bytes(path.read_bytes() + b"more")
    return rows


def forgets_quarantined(
    spark: Any, sources: dict[str, DataFrame], context: EtlContext
) -> DataFrame:
    good, bad = divide(sources["readings"], F.when(F.col("reading") > 15, "too_many"))
    return good.unionByName(bad, allowMissingColumns=True)


def refuses_in_anothers_name(
    spark: Any, sources: dict[str, DataFrame], context: EtlContext
) -> DataFrame:
    good, bad = divide(sources["readings"], F.when(F.col("reading") > 15, "too_many"))
    return good.unionByName(quarantined(bad, "rea/dings"), allowMissingColumns=True)


def has_a_bug(spark: Any, sources: dict[str, DataFrame], context: EtlContext) -> DataFrame:
    return sources["readings"].withColumn("price", F.lit(context.parameters["price"]))


def keeps_bytes(spark: Any, sources: dict[str, DataFrame], context: EtlContext) -> DataFrame:
    good, bad = divide(sources["readings"], F.when(F.col("reading") == 3, "odd"))
    bad = quarantined(bad).withColumn("_record", F.expr("cast(X'636166E9' AS string)"))
    return good.unionByName(bad, allowMissingColumns=True)


def tells_its_zone(spark: Any, sources: dict[str, DataFrame], context: EtlContext) -> DataFrame:
    jvm = spark._jvm.java.util.TimeZone.getDefault().getID()
    python = F.udf(lambda: time.tzname[0])()
    rows = sources["readings"].withColumn("jvm", F.lit(jvm)).withColumn("python", python)
    return rows.withColumn("option", F.lit(spark._jvm.java.lang.System.getProperty("our.own")))


def makes_a_dot(spark: Any, sources: dict[str, DataFrame], context: EtlContext) -> DataFrame:
    return sources["readings"].withColumnRenamed("sensor", "user.id")


def makes_the_same_but_for_case(
    spark: Any, sources: dict[str, DataFrame], context: EtlContext
) -> DataFrame:
    rows = sources["readings"]
    return rows.select("reading", F.col("reading").alias("Reading"))


def makes_a_reserved_name(
    spark: Any, sources: dict[str, DataFrame], context: EtlContext
) -> DataFrame:
    return sources["readings"].select("reading", F.lit("x").alias("_SOURCE"))


def makes_one_name_twice(
    spark: Any, sources: dict[str, DataFrame], context: EtlContext
) -> DataFrame:
    return sources["readings"].select("reading", F.lit(1).alias("reading"))
