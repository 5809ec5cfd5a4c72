"""Turns raw logs into one row per impression: the ETL that SparkExampleGen runs for CTR.

Small functions of DataFrames are composed at the bottom; read `build_examples` first.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812

from applications.ctr.aggregations import RECENT, WINDOW_FEATURES
from applications.ctr.etl_parameters import EtlParameters
from applications.ctr.features import FEATURES
from features.attribution import CLICK_MS, first_of_each, with_first_click
from features.hourly_counts import COUNTS
from features.hourly_counts import RECENT as RECENT_CLICKS
from features.recent_clicks import add_recent_clicks
from features.window_features import HOUR_MS, Smoothing, add_window_features, hour_of
from spark_io.examples.rows import EtlContext, divide, dropped, quarantined

EARLIEST_MS = 631_152_000_000  # 1990-01-01; an earlier time means a wrong clock
OLDEST = 120  # years
LARGEST_PRICE = 1e9  # excludes infinity and values too large for a 32-bit float


def rejection(parameters: EtlParameters) -> Column:
    """Returns the reason code of an impossible impression; null for the others."""
    position, time = F.col("position"), F.col("timestamp_ms")
    return (
        F.when(F.col("impression_id").isNull(), "missing_impression_id")
        .when(F.col("session_id").isNull(), "missing_session_id")
        .when(F.col("user_id").isNull(), "missing_user_id")
        .when(F.col("item_id").isNull(), "missing_item_id")
        .when(time.isNull() | ~time.between(EARLIEST_MS, _tomorrow_ms()), "impossible_timestamp")
        .when(position.isNull() | (position < 1), "impossible_position")
        .when(position > parameters.max_position, "impossible_position")
    )


def _tomorrow_ms() -> Column:
    """Returns the latest plausible time: clocks differ by less than a day."""
    return (F.unix_timestamp(F.current_timestamp()) + 86_400) * 1000


def with_bot_reason(impressions: DataFrame, parameters: EtlParameters) -> DataFrame:
    """Adds `_bot`, which is true for all rows of a session in an hour if it was too fast.

    A session is too fast if the impression `bot_impressions` rows earlier is at most `bot_seconds`
    old. This takes one lookup per row, however long the session is. Each hour is judged on its own,
    so the result does not depend on how many hours are read.
    """
    session = Window.partitionBy("session_id", hour_of("timestamp_ms"))
    earlier = F.lag("timestamp_ms", parameters.bot_impressions).over(
        session.orderBy("timestamp_ms", "impression_id")
    )
    fast = F.col("timestamp_ms") - earlier <= F.lit(int(parameters.bot_seconds * 1000))
    judged = impressions.withColumn("_fast", F.coalesce(fast, F.lit(False)))
    return judged.withColumn("_bot", F.max("_fast").over(session)).drop("_fast")


def labelled(
    impressions: DataFrame, clicks: DataFrame | None, parameters: EtlParameters
) -> DataFrame:
    """Adds `click_ms`, the first click within the attribution window, and the label.

    Without clicks, `click_ms` must be present already, because streaming/ has attributed them.
    """
    window_ms = int(parameters.attribution_minutes * 60_000)
    if clicks is None:
        delay = F.col(CLICK_MS) - F.col("timestamp_ms")
        joined = impressions.withColumn(
            CLICK_MS, F.when(delay.between(0, window_ms), F.col(CLICK_MS))
        )
    else:
        known = clicks.where(F.col("timestamp_ms") >= EARLIEST_MS).select(
            "impression_id", F.col("timestamp_ms").alias(CLICK_MS)
        )
        joined = with_first_click(impressions, known, "impression_id", "timestamp_ms", window_ms)
    return joined.withColumn(FEATURES.label, F.col(CLICK_MS).isNotNull().cast("long"))


def with_users(impressions: DataFrame, users: DataFrame) -> DataFrame:
    """Adds the columns of the user; an unknown or impossible age becomes the median."""
    possible = F.when(F.col("age").between(0, OLDEST), F.col("age"))
    users = users.withColumn("age", possible)
    profile = users.dropDuplicates(["user_id"]).select(
        "user_id", "age", "gender", "country", "membership"
    )
    median_age = users.agg(F.expr("percentile_approx(age, 0.5)").alias("_median_age"))
    joined = impressions.join(profile, "user_id", "left").crossJoin(F.broadcast(median_age))
    age = F.coalesce(F.col("age"), F.col("_median_age"), F.lit(0)).cast("float")
    texts = {c: F.coalesce(F.col(c), F.lit("unknown")) for c in ("gender", "country", "membership")}
    return joined.withColumns({"age": age, **texts}).drop("_median_age")


def catalogue(items: DataFrame) -> DataFrame:
    """Returns the items, with the price relative to the mean of their category."""
    possible = F.col("price").between(0, LARGEST_PRICE)  # false for NaN, which Spark sorts last
    items = items.withColumn("price", F.when(possible, F.col("price")))
    mean_price = F.avg("price").over(Window.partitionBy("category"))
    relative = F.when(mean_price > 0, F.col("price") / mean_price)
    return items.dropDuplicates(["item_id"]).select(
        "item_id",
        F.coalesce("category", F.lit("unknown")).alias("category"),
        F.coalesce("brand", F.lit("unknown")).alias("brand"),
        F.coalesce(F.col("price"), F.lit(0.0)).cast("float").alias("price"),
        F.coalesce(relative, F.lit(1.0)).cast("float").alias("price_to_category"),
        "listed_ms",
    )


def with_time_features(impressions: DataFrame) -> DataFrame:
    """Adds hour and weekday (UTC; Monday is 0), the hour on a circle, and the item's age."""
    hour = hour_of("timestamp_ms") % 24
    # 1970-01-01 was a Thursday.
    weekday = (F.floor(F.col("timestamp_ms") / (24 * HOUR_MS)) + 3) % 7
    angle = hour * F.lit(2 * 3.141592653589793 / 24)
    age_ms = F.greatest(F.col("timestamp_ms") - F.col("listed_ms"), F.lit(0))
    return impressions.withColumns(
        {
            "hour_of_day": hour.cast("long"),
            "day_of_week": weekday.cast("long"),
            "hour_sin": F.sin(angle).cast("float"),
            "hour_cos": F.cos(angle).cast("float"),
            "item_age_hours": F.coalesce(age_ms / HOUR_MS, F.lit(0)).cast("float"),
        }
    )


def as_examples(rows: DataFrame) -> DataFrame:
    """Returns the columns of an example, in the order of features.py."""
    known = (F.col("user_impressions_7d") > 0).cast("long")
    device = F.coalesce(F.col("device"), F.lit("unknown"))
    surface = F.coalesce(F.col("surface"), F.lit("unknown"))
    rows = rows.withColumns({"user_known": known, "device": device, "surface": surface})
    return rows.select(*FEATURES.columns)


def genuine_impressions(
    sources: dict[str, DataFrame], parameters: EtlParameters
) -> tuple[DataFrame, tuple[DataFrame, ...]]:
    """Returns genuine impressions with item and click, and the rejected and dropped rows."""
    items = F.broadcast(catalogue(sources["items"]))
    plausible, impossible = divide(sources["impressions"], rejection(parameters))
    unique, repeated = first_of_each(plausible, "impression_id", "timestamp_ms")
    with_items = with_bot_reason(unique, parameters).join(items, "item_id", "left")
    reason = F.when(F.col("_bot"), "bot_burst").when(F.col("category").isNull(), "unknown_item")
    genuine, rejected = divide(with_items, reason)
    raw = list(sources["impressions"].columns)
    outcomes = (
        quarantined(impossible),
        quarantined(rejected.select(*raw, "_reason")),
        dropped(repeated, "duplicate"),
    )
    return labelled(genuine.drop("_bot"), sources.get("clicks"), parameters), outcomes


def build_examples(
    spark: SparkSession, sources: dict[str, DataFrame], context: EtlContext
) -> DataFrame:
    """Joins impressions, clicks, users and items.

    Args:
      spark: Spark session.
      sources: `impressions`, `clicks` (or impressions with `click_ms`), `users` and `items`. If the
        log begins before the impressions, also `counts` and `recent_clicks`, the tables of
        hour_tables.py of the earlier hours.
      context: Context whose `parameters` are EtlParameters.

    Returns:
      One row per impression with the features of features.py, and the rejected and dropped rows
      with reasons.
    """
    parameters = EtlParameters(**context.parameters)
    clicked, outcomes = genuine_impressions(sources, parameters)
    described = with_time_features(with_users(clicked, sources["users"]))
    remembered = add_recent_clicks(described, CLICK_MS, RECENT, sources.get(RECENT_CLICKS))
    counted = add_window_features(
        remembered,
        "impression_id",
        CLICK_MS,
        WINDOW_FEATURES,
        Smoothing(parameters.smoothing_prior, parameters.smoothing_strength),
        sources.get(COUNTS),
    )
    result = as_examples(counted)
    for rows in outcomes:
        result = result.unionByName(rows, allowMissingColumns=True)
    return result
