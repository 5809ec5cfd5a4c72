"""The one list of features: etl.py makes them, preprocessing.py and model.py take them."""

from __future__ import annotations

from applications.ctr.etl_parameters import LABEL as LABEL
from features.recent_clicks import RecentClicks
from features.window_features import WindowFeature

# Carried along: to join a prediction to its log line, and to keep a session within one split.
KEYS = ("impression_id", "session_id", "timestamp_ms")

# name -> largest vocabulary; what is rarer goes to the out-of-vocabulary buckets.
CATEGORICAL = {
    "user_id": 200_000,
    "item_id": 100_000,
    "category": 1_000,
    "brand": 5_000,
    "device": 10,
    "surface": 20,
    "gender": 10,
    "country": 300,
    "membership": 50,
}
OOV_BUCKETS = 2

# Scaled to mean 0, variance 1.
DENSE = ("age", "hour_sin", "hour_cos", "price_to_category", "user_known")

# Heavy tails: the logarithm first, then scaled.
LOG_DENSE = ("price", "item_age_hours")

# Cut at quantiles into buckets, each with an embedding.
BUCKETIZED = {"age": 10, "price": 20, "item_age_hours": 20}

# Small integers that are their own index; a value beyond the size counts as the last one.
ORDINAL = {"position": 32, "hour_of_day": 24, "day_of_week": 7}

# Columns hashed together, with the number of hash buckets.
CROSSES: dict[tuple[str, ...], int] = {
    ("gender", "age_band", "category"): 10_000,
    ("device", "position"): 500,
}
# The age groups that advertisers book by: under 18, 18 to 24, ..., 55 to 64, 65 and older.
AGE_BANDS = (18.0, 25.0, 35.0, 45.0, 55.0, 65.0)

WINDOWS = {"1h": 1, "24h": 24, "7d": 7 * 24}  # name -> hours

# Counts and smoothed rates before each impression; one declaration for every path that computes it.
WINDOW_FEATURES = tuple(
    WindowFeature(name, keys, WINDOWS)
    for name, keys in {
        "user": ("user_id",),
        "item": ("item_id",),
        "category": ("category",),
        "user_category": ("user_id", "category"),
        "user_item": ("user_id", "item_id"),
    }.items()
)
WINDOW_COUNTS = tuple(name for feature in WINDOW_FEATURES for name in feature.count_columns())
WINDOW_RATES = tuple(name for feature in WINDOW_FEATURES for name in feature.rate_columns())

# What the user clicked last: lists, the most recent first, empty for who never clicked.
RECENT = RecentClicks("recent", ("user_id",), ("item_id", "category"), length=10, hours=7 * 24)
# List feature -> the categorical feature whose vocabulary it shares.
SEQUENCES = dict(zip(RECENT.list_columns(), RECENT.columns, strict=True))
RECENT_HOURS = RECENT.hours_column()
# Hours since the last of these clicks that equals what is shown: name -> (list, what is shown).
# Computed by the Transform step, from the lists, and treated as LOG_DENSE and as BUCKETIZED.
RECENCY = {f"hours_since_{whose}_click": (name, whose) for name, whose in SEQUENCES.items()}
NEVER_HOURS = 7 * 24.0  # longer ago, or never
RECENCY_BUCKETS = 20


def transformed(name: str) -> str:
    """The name a feature has after Transform: raw and transformed ones never share a name."""
    return f"{name}_xf"
