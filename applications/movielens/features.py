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


# The prior is the like rate of all films, roughly, and weighs as much as 10 ratings.
_LIKE_RATE = Rate(of="ratings", prior=0.55, strength=10, name="like_rate")
_FILMS = Last(("film_id", "genre"), length=10, hours="hours", named=("film_id", "genre"))

_RATED = [
    FeatureGroup(name, "ratings", keys, WINDOWS, (Count(name="ratings"),))
    for name, keys in ENTITIES.items()
]
_LIKED = [
    FeatureGroup(name, "ratings", keys, WINDOWS, (_LIKE_RATE,), where=LIKED)
    for name, keys in ENTITIES.items()
]
_RECENT = FeatureGroup(
    "liked", "ratings", ("user_id",), ("90d",), (_FILMS,), where=LIKED, column="{group}_{name}"
)
GROUPS = (*_RATED, *_LIKED, _RECENT)
COUNTS = [name for group in _RATED for name in group.column_names()]
RATES = [name for group in _LIKED for name in group.column_names()]

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
