"""Tables of an hour for the features of later ones, and profiles of users and items for serving.

See features/hourly_counts.py and features/online_table.py.
"""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from applications.ctr import aggregations
from applications.ctr.etl import catalogue, genuine_impressions, with_users
from applications.ctr.etl_parameters import EtlParameters
from features.attribution import CLICK_MS
from features.hourly_counts import COUNTS, RECENT, Declared, hourly_counts
from features.recent_clicks import clicks_of
from features.window_features import all_keys
from spark_io.examples.rows import EtlContext

DECLARED = Declared(aggregations.WINDOW_FEATURES, aggregations.RECENT)


def hour_tables(
    spark: SparkSession, sources: dict[str, DataFrame], context: EtlContext
) -> dict[str, DataFrame]:
    """Returns the tables COUNTS and RECENT of whole hours.

    They are computed from a cached frame; clear the cache once both are written.

    Args:
      spark: Spark session.
      sources: Sources of `build_examples`, with the impressions of these hours.
      context: Context of `build_examples`.
    """
    genuine, _ = genuine_impressions(sources, EtlParameters(**context.parameters))
    columns = {*all_keys(DECLARED.windows), *DECLARED.recent.keys, *DECLARED.recent.columns}
    slim = genuine.select(*sorted(columns), "timestamp_ms", CLICK_MS).cache()
    return {
        COUNTS: hourly_counts(slim, CLICK_MS, DECLARED.windows),
        RECENT: clicks_of(slim, CLICK_MS, DECLARED.recent),
    }


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
