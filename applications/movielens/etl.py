"""Turns ratings into examples: whether the user liked the film, and what was known before.

Small functions of DataFrames are composed at the bottom; read `build_examples` first.
"""

from __future__ import annotations

from pydantic import Field
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from applications.movielens.features import FEATURES, GROUPS
from base.durations import HOUR_MS
from base.section import Section
from features.batch import add_features
from features.outcomes import first_of_each
from spark_io.examples.rows import EtlContext, divide, dropped, quarantined

_MS_PER_YEAR = 365.25 * 24 * HOUR_MS


class EtlParameters(Section):
    """`etl.parameters`: the definition of a like."""

    liked_stars: int = Field(4, ge=1, le=5, description="minimum number of stars of a like")


def rejection() -> Column:
    """Returns the reason code of a rating that cannot be used; null for the others."""
    stars = F.col("stars")
    return (
        F.when(F.col("rating_id").isNull(), "missing_rating_id")
        .when(F.col("user_id").isNull(), "missing_user_id")
        .when(F.col("film_id").isNull(), "missing_film_id")
        .when(F.col("timestamp_ms").isNull(), "missing_timestamp")
        .when(stars.isNull() | ~stars.between(1, 5), "impossible_stars")
    )


def labelled(ratings: DataFrame, parameters: EtlParameters) -> DataFrame:
    """Adds the label."""
    is_liked = F.col("stars") >= parameters.liked_stars
    return ratings.withColumn(FEATURES.label, is_liked.cast("long"))


def user_profiles(users: DataFrame) -> DataFrame:
    """Returns one row per user, with "unknown" or the age 0 for missing values."""
    texts = {
        name: F.coalesce(F.col(name), F.lit("unknown"))
        for name in ("gender", "occupation", "region")
    }
    age = F.coalesce(F.col("age"), F.lit(0)).cast("float")
    known = users.dropDuplicates(["user_id"]).withColumns({**texts, "age": age})
    return known.select("user_id", "age", "gender", "occupation", "region")


def film_profiles(films: DataFrame) -> DataFrame:
    """Returns one row per film: its first genre, the number of genres, its decade and year."""
    genres = F.split(F.coalesce(F.col("genres"), F.lit("unknown")), r"\|")
    decade = F.concat((F.floor(F.col("year") / 10) * 10).cast("string"), F.lit("s"))
    return films.dropDuplicates(["film_id"]).select(
        "film_id",
        genres[0].alias("genre"),
        F.size(genres).cast("float").alias("genre_count"),
        F.coalesce(decade, F.lit("unknown")).alias("decade"),
        "year",
    )


def with_time_features(ratings: DataFrame) -> DataFrame:
    """Adds hour and weekday (UTC; Monday is 0), and the film's age in years."""
    days = F.floor(F.col("timestamp_ms") / (24 * HOUR_MS))
    year = 1970 + F.col("timestamp_ms") / _MS_PER_YEAR
    film_age = F.greatest(year - F.col("year"), F.lit(0.0))
    return ratings.withColumns(
        {
            "hour_of_day": (F.floor(F.col("timestamp_ms") / HOUR_MS) % 24).cast("long"),
            "day_of_week": ((days + 3) % 7).cast("long"),  # 1970-01-01 was a Thursday
            "film_age_years": F.coalesce(film_age, F.lit(0.0)).cast("float"),
        }
    )


def build_examples(
    spark: SparkSession, sources: dict[str, DataFrame], context: EtlContext
) -> DataFrame:
    """Joins ratings, users and films.

    Args:
      spark: Spark session.
      sources: `ratings`, `users` and `films`.
      context: Context whose `parameters` are EtlParameters.

    Returns:
      One row per rating with the features of features.py, and the rejected and dropped rows.
    """
    parameters = EtlParameters(**context.parameters)
    usable, rejected = divide(sources["ratings"], rejection())
    unique, repeated = first_of_each(usable, "rating_id", "timestamp_ms")
    joined = unique.join(F.broadcast(film_profiles(sources["films"])), "film_id", "left").join(
        F.broadcast(user_profiles(sources["users"])), "user_id", "left"
    )
    reason = F.when(F.col("genre").isNull(), "unknown_film").when(
        F.col("gender").isNull(), "unknown_user"
    )
    known, unknown = divide(joined, reason)
    described = with_time_features(labelled(known, parameters))
    streams = {"ratings": described}
    counted = add_features(described, GROUPS, streams, identity="rating_id", time="timestamp_ms")
    result = counted.select(*FEATURES.columns)
    raw = list(sources["ratings"].columns)
    for rows in (
        quarantined(rejected),
        quarantined(unknown.select(*raw, "_reason")),
        dropped(repeated, "duplicate"),
    ):
        result = result.unionByName(rows, allowMissingColumns=True)
    return result
