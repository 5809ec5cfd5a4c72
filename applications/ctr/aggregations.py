"""Declares features of the past: counts and rates over windows, and each user's recent clicks."""

from __future__ import annotations

from features.recent_clicks import RecentClicks
from features.window_features import WindowFeature

WINDOWS = {"1h": 1, "24h": 24, "7d": 7 * 24}  # name -> hours

# Counts and smoothed rates before each impression, declared once for batch, stream and serving.
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

# Items that the user clicked last, most recent first; empty for a user without clicks.
RECENT = RecentClicks("recent", ("user_id",), ("item_id", "category"), length=10, hours=7 * 24)
