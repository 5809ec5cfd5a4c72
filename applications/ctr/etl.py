"""Raw logs to one row for each impression: the ETL that SparkExampleGen runs for CTR.

Small functions of DataFrames, composed at the bottom; read `build_examples` first.
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

EARLIEST_MS = 631_152_000_000  # 1990-01-01: no log is older; clocks that say so are wrong
OLDEST = 120  # years
LARGEST_PRICE = 1e9  # beyond it lie infinity, and what a 32-bit float cannot hold


def rejection(parameters: EtlParameters) -> Column:
    """Reason code for impressions that cannot be true; null for the others."""
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
    """Clocks differ, but not by a day; microseconds taken for milliseconds lie far beyond it."""
    return (F.unix_timestamp(F.current_timestamp()) + 86_400) * 1000


def with_bot_reason(impressions: DataFrame, parameters: EtlParameters) -> DataFrame:
    """Adds `_bot`: true for every row of a session in an hour in which it went faster than a person
    can.

    A session is too fast when the impression `bot_impressions` places earlier is less than
    `bot_seconds` old; one look back a row, however long the session is. Each hour is judged by
    itself, so an hour read alone is judged as it is within a longer log.
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

    Where there are no clicks, `click_ms` is there: streaming/ has attributed them.
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
    """Adds what is known of the user; an unknown or impossible age becomes the median."""
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
    """Items, with the price relative to the mean of their category; no price is impossible."""
    possible = F.col("price").between(0, LARGEST_PRICE)  # nor NaN, which Spark has above all
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
    """Hour and weekday (UTC), the hour on a circle, and the item's age."""
    hour = hour_of("timestamp_ms") % 24
    # 1970-01-01 was a Thursday; Monday is 0
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
    """The columns of an example, in the order of features.py."""
    known = (F.col("user_impressions_7d") > 0).cast("long")
    device = F.coalesce(F.col("device"), F.lit("unknown"))
    surface = F.coalesce(F.col("surface"), F.lit("unknown"))
    rows = rows.withColumns({"user_known": known, "device": device, "surface": surface})
    return rows.select(*FEATURES.columns)


def genuine_impressions(
    sources: dict[str, DataFrame], parameters: EtlParameters
) -> tuple[DataFrame, tuple[DataFrame, ...]]:
    """What people were shown, with the item and the click; and what was refused or dropped, with
    reasons.
    """
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
      spark: the session.
      sources: `impressions`, `clicks` (or impressions with `click_ms`), `users`, `items`; where the
        log begins earlier than the impressions also the tables of hour_tables.py of the hours
        before them, `counts` and `recent_clicks`.
      context: `parameters` are EtlParameters.

    Returns:
      One row an impression with the features of features.py, and the rows that were refused or
      dropped, with reasons.
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
