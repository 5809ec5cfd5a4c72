"""The features of the film model, which etl.py computes, and how each is treated."""

from __future__ import annotations

from features.recent_clicks import RecentClicks
from features.window_features import WindowFeature
from tabular.feature_set import (
    Categorical,
    Cross,
    FeatureSet,
    Numeric,
    Ordinal,
    Recency,
    Sequence,
)

# Windows of the counts and like rates before each rating: name -> hours.
WINDOWS = {"1h": 1, "7d": 7 * 24, "90d": 90 * 24}
WINDOW_FEATURES = tuple(
    WindowFeature(name, keys, WINDOWS)
    for name, keys in {
        "user": ("user_id",),
        "film": ("film_id",),
        "user_genre": ("user_id", "genre"),
        "occupation_genre": ("occupation", "genre"),
    }.items()
)
WINDOW_COUNTS = tuple(name for feature in WINDOW_FEATURES for name in feature.count_columns())
WINDOW_RATES = tuple(name for feature in WINDOW_FEATURES for name in feature.rate_columns())

# Films that the user liked last, most recent first.
LIKED = RecentClicks("liked", ("user_id",), ("film_id", "genre"), length=10, hours=90 * 24)

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
        *(Numeric(name) for name in WINDOW_RATES),
        Numeric("film_age_years", log=True, buckets=20),
        *(Numeric(name, log=True) for name in WINDOW_COUNTS),
        Ordinal("hour_of_day", size=24),
        Ordinal("day_of_week", size=7),
        Sequence(
            dict(zip(LIKED.list_columns(), LIKED.columns, strict=True)),
            length=LIKED.length,
            ages=LIKED.hours_column(),
        ),
        Recency("hours_since_liked_genre", "liked_genre", 90 * 24.0, buckets=20),
        Cross(("gender", "genre"), hash_buckets=200),
        Cross(("occupation", "genre"), hash_buckets=1_000),
    ),
)
