"""The features of the click model, which etl.py computes, and how each is treated."""

from __future__ import annotations

from applications.ctr.aggregations import (
    RECENT,
    RECENT_HOURS,
    RECENT_LENGTH,
    WINDOW_COUNTS,
    WINDOW_RATES,
)
from tabular.feature_set import (
    Bands,
    Categorical,
    Cross,
    FeatureSet,
    Numeric,
    Ordinal,
    Recency,
    Sequence,
)

# The age groups that advertisers book by: under 18, 18 to 24, ..., 55 to 64, 65 and older.
AGE_BAND = Bands("age_band", "age", (18.0, 25.0, 35.0, 45.0, 55.0, 65.0))
LONGEST_HOURS = 7 * 24.0

FEATURES = FeatureSet(
    label="clicked",
    classes=("click", "no click"),
    # For joining predictions to log lines, and for keeping a session within one split.
    keys=("impression_id", "session_id", "timestamp_ms"),
    features=(
        Categorical("user_id", vocabulary=200_000),
        Categorical("item_id", vocabulary=100_000),
        Categorical("category", vocabulary=1_000),
        Categorical("brand", vocabulary=5_000),
        Categorical("device", vocabulary=10),
        Categorical("surface", vocabulary=20),
        Categorical("gender", vocabulary=10),
        Categorical("country", vocabulary=300),
        Categorical("membership", vocabulary=50),
        Numeric("age", buckets=10),
        Numeric("hour_sin"),
        Numeric("hour_cos"),
        Numeric("price_to_category"),
        Numeric("user_known"),
        *(Numeric(name) for name in WINDOW_RATES),
        Numeric("price", log=True, buckets=20),
        Numeric("item_age_hours", log=True, buckets=20),
        *(Numeric(name, log=True) for name in WINDOW_COUNTS),
        Ordinal("position", size=32),
        Ordinal("hour_of_day", size=24),
        Ordinal("day_of_week", size=7),
        Sequence(RECENT, length=RECENT_LENGTH, ages=RECENT_HOURS),
        Recency("hours_since_item_id_click", "recent_item_id", LONGEST_HOURS, buckets=20),
        Recency("hours_since_category_click", "recent_category", LONGEST_HOURS, buckets=20),
        Cross(("gender", AGE_BAND, "category"), hash_buckets=10_000),
        Cross(("device", "position"), hash_buckets=500),
    ),
)
