"""Turns raw logs into one row per impression: the ETL that SparkExampleGen runs for CTR.

Small functions of DataFrames are composed at the bottom; read `build_examples` first.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812

from applications.ctr.aggregations import CLICKS, GROUPS, IMPRESSIONS
from applications.ctr.etl_parameters import EtlParameters
from applications.ctr.features import FEATURES
from applications.ctr.row_features import is_known, item_age_hours, time_features
from base.durations import HOUR_MS
from features.batch import add_features
from features.history_columns import PAST
from features.outcomes import first_of_each, with_first_outcome
from spark_io.examples.rows import EtlContext, divide, dropped, quarantined
from spark_io.sources.outcomes import Outcome

EARLIEST_MS = 631_152_000_000  # 1990-01-01; an earlier time means a wrong clock
OLDEST = 120  # years
CLICK_MS = "click_ms"  # time of the first click that counts
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
    session = Window.partitionBy("session_id", F.floor(F.col("timestamp_ms") / HOUR_MS))
    earlier = F.lag("timestamp_ms", parameters.bot_impressions).over(
        session.orderBy("timestamp_ms", "impression_id")
    )
    fast = F.col("timestamp_ms") - earlier <= F.lit(int(parameters.bot_seconds * 1000))
    judged = impressions.withColumn("_fast", F.coalesce(fast, F.lit(False)))
    return judged.withColumn("_bot", F.max("_fast").over(session)).drop("_fast")


def labelled(impressions: DataFrame, clicks: DataFrame, declared: Outcome) -> DataFrame:
    """Adds CLICK_MS, the first click in its time, and the label."""
    joined = with_first_outcome(
        impressions,
        clicks.where(F.col("timestamp_ms") >= EARLIEST_MS),
        declared,
        identity="impression_id",
        time="timestamp_ms",
        outcome_time="timestamp_ms",
        columns={"timestamp_ms": CLICK_MS},
    )
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
    """Adds the features of the time, and the item's age; an item without a date is new."""
    time = F.col("timestamp_ms")
    listed = F.coalesce(F.col("listed_ms"), time)
    whole = {"hour_of_day", "day_of_week"}
    return impressions.withColumns(
        {
            name: value.cast("long" if name in whole else "float")
            for name, value in time_features(time, F).items()
        }
        | {"item_age_hours": item_age_hours(time, listed, F).cast("float")}
    )


def as_examples(rows: DataFrame) -> DataFrame:
    """Returns the columns of an example, in the order of features.py."""
    known = is_known(F.col("user_impressions_7d")).cast("long")
    device = F.coalesce(F.col("device"), F.lit("unknown"))
    surface = F.coalesce(F.col("surface"), F.lit("unknown"))
    rows = rows.withColumns({"user_known": known, "device": device, "surface": surface})
    return rows.select(*FEATURES.columns)


def streams(impressions: DataFrame) -> dict[str, DataFrame]:
    """Returns the streams that aggregations.py names, from impressions with CLICK_MS."""
    clicked = impressions.where(F.col(CLICK_MS).isNotNull())
    return {IMPRESSIONS: impressions, CLICKS: clicked.withColumn("timestamp_ms", F.col(CLICK_MS))}


def genuine_impressions(
    sources: dict[str, DataFrame], context: EtlContext
) -> tuple[DataFrame, tuple[DataFrame, ...]]:
    """Returns genuine impressions with item and click, and the rejected and dropped rows."""
    parameters = EtlParameters(**context.parameters)
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
    clicked = labelled(genuine.drop("_bot"), sources["clicks"], context.outcome("clicks"))
    return clicked, outcomes


def build_examples(
    spark: SparkSession, sources: dict[str, DataFrame], context: EtlContext
) -> DataFrame:
    """Joins impressions, clicks, users and items.

    Args:
      spark: Spark session.
      sources: `impressions`, `clicks`, `users` and `items`. If the log begins before the
        impressions, also PAST, which has the clicks of the window as well.
      context: Context whose `parameters` are EtlParameters.

    Returns:
      One row per impression with the features of features.py, and the rejected and dropped rows
      with reasons.
    """
    clicked, outcomes = genuine_impressions(sources, context)
    described = with_time_features(with_users(clicked, sources["users"]))
    past = sources.get(PAST)
    happened = {IMPRESSIONS: described} if past is not None else streams(described)
    counted = add_features(
        described,
        GROUPS,
        happened,
        identity="impression_id",
        time="timestamp_ms",
        history=past,
        since_ms=context.begin_ms,
    )
    result = as_examples(counted)
    for rows in outcomes:
        result = result.unionByName(rows, allowMissingColumns=True)
    return result


def events(
    spark: SparkSession, sources: dict[str, DataFrame], context: EtlContext
) -> dict[str, DataFrame]:
    """Returns the streams of some hours, for the features of their rows and of later ones.

    They are computed from a cached frame; clear the cache once they are written.

    Args:
      spark: Spark session.
      sources: Sources of `build_examples`: the impressions of these hours, and those that the
        clicks of these hours belong to.
      context: Context of `build_examples`.
    """
    genuine, _ = genuine_impressions(sources, context)
    needed = {column for group in GROUPS for part in group.parts() for column in part.columns}
    needed |= {key for group in GROUPS for key in group.keys}
    return streams(genuine.select(*sorted(needed), "timestamp_ms", CLICK_MS).cache())
