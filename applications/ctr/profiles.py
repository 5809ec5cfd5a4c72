"""Profiles of users and items, which serving looks up beside their past."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from applications.ctr.etl import catalogue, with_users

USER, ITEM = "user", "item"  # kinds of profiles
UNKNOWN_USER = ""  # key of the profile that every unknown user gets


def profiles(sources: dict[str, DataFrame]) -> dict[str, DataFrame]:
    """Returns kind -> the ETL's columns of each user or item, with its id as `key`.

    Args:
      sources: `users` and `items` of `build_examples`.
    """
    spark = sources["users"].sparkSession
    unknown = spark.range(1).select(F.lit(UNKNOWN_USER).alias("user_id"))
    known = sources["users"].select("user_id").where(F.col("user_id") != UNKNOWN_USER).distinct()
    users = with_users(known.unionByName(unknown), sources["users"])
    return {
        USER: users.withColumnRenamed("user_id", "key"),
        ITEM: catalogue(sources["items"]).withColumnRenamed("item_id", "key"),
    }
