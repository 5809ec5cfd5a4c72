"""The features of the film model, which etl.py computes, and how each is treated."""

from __future__ import annotations

from features.aggregations import Count, Last, Rate
from features.groups import FeatureGroup
from tabular.feature_set import (
    Categorical,
    Cross,
    FeatureSet,
    Numeric,
    Ordinal,
    Recency,
    Sequence,
)

WINDOWS = ("1h", "7d", "90d")
ENTITIES = {
    "user": ("user_id",),
    "film": ("film_id",),
    "user_genre": ("user_id", "genre"),
    "occupation_genre": ("occupation", "genre"),
}
LIKED = "liked = 1"  # the condition that makes a rating a like


def past(prior: float = 0.5, strength: float = 1.0) -> list[FeatureGroup]:
    """Returns the features of earlier ratings.

    Args:
      prior: Like rate of an entity without a past.
      strength: Weight of the prior, in ratings.
    """
    rate = Rate(of="ratings", prior=prior, strength=strength, name="like_rate")
    films = Last(("film_id", "genre"), length=10, hours="hours", named=("film_id", "genre"))
    groups = []
    for name, keys in ENTITIES.items():
        ratings = (Count(name="ratings"),)
        groups.append(FeatureGroup(name, "ratings", keys, WINDOWS, ratings))
        groups.append(FeatureGroup(name, "ratings", keys, WINDOWS, (rate,), where=LIKED))
    recent = {"where": LIKED, "column": "{group}_{name}"}
    groups.append(FeatureGroup("liked", "ratings", ("user_id",), ("90d",), (films,), **recent))
    return groups


COUNTS = [name for group in past() for name in group.column_names() if "_ratings_" in name]
RATES = [name for group in past() for name in group.column_names() if "_like_rate_" in name]

FEATURES = FeatureSet(
    label="liked",
    classes=("liked", "not liked"),
    keys=("rating_id", "timestamp_ms"),
    features=(
        Categorical("user_id", vocabulary=2_000),
        Categorical("film_id", vocabulary=4_000),
        Categorical("genre", vocabulary=50),
        Categorical("decade", vocabulary=20),
        Categorical("gender", vocabulary=10),
        Categorical("occupation", vocabulary=50),
        Categorical("region", vocabulary=20),
        Numeric("age", buckets=10),
        Numeric("genre_count"),
        *(Numeric(name) for name in RATES),
        Numeric("film_age_years", log=True, buckets=20),
        *(Numeric(name, log=True) for name in COUNTS),
        Ordinal("hour_of_day", size=24),
        Ordinal("day_of_week", size=7),
        Sequence(
            {"liked_film_id": "film_id", "liked_genre": "genre"}, length=10, ages="liked_hours"
        ),
        Recency("hours_since_liked_genre", "liked_genre", 90 * 24.0, buckets=20),
        Cross(("gender", "genre"), hash_buckets=200),
        Cross(("occupation", "genre"), hash_buckets=1_000),
    ),
)
