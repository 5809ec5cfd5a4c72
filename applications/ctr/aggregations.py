"""Declares the features of the past, once for the batch, hourly operation and serving.

The streams are those of etl.py's `events`: impressions, and clicks at their own time with the
columns of the clicked impression.
"""

from __future__ import annotations

from features.aggregations import Count, Last, Rate
from features.groups import FeatureGroup

IMPRESSIONS, CLICKS = "impressions", "clicks"
_WINDOWS = ("1h", "24h", "7d")
_ENTITIES = {
    "user": ("user_id",),
    "item": ("item_id",),
    "category": ("category",),
    "user_category": ("user_id", "category"),
    "user_item": ("user_id", "item_id"),
}
# The prior is the click rate of all traffic, roughly, and weighs as much as 20 impressions.
_CTR = Rate(of=IMPRESSIONS, prior=0.1, strength=20, name="ctr")

_SHOWN = tuple(
    FeatureGroup(name, IMPRESSIONS, keys, _WINDOWS, (Count(name="impressions"),))
    for name, keys in _ENTITIES.items()
)
_CLICKED = tuple(
    FeatureGroup(name, CLICKS, keys, _WINDOWS, (_CTR,)) for name, keys in _ENTITIES.items()
)
WINDOW_COUNTS = tuple(name for group in _SHOWN for name in group.column_names())
WINDOW_RATES = tuple(name for group in _CLICKED for name in group.column_names())

# Items that the user clicked last, most recent first; empty for a user without clicks.
RECENT = {"recent_item_id": "item_id", "recent_category": "category"}
RECENT_LENGTH, RECENT_HOURS = 10, "recent_hours"
_LAST = Last(tuple(RECENT.values()), RECENT_LENGTH, hours="hours", named=tuple(RECENT.values()))
_RECENT = FeatureGroup("recent", CLICKS, ("user_id",), ("7d",), (_LAST,), column="{group}_{name}")

GROUPS = (*_SHOWN, *_CLICKED, _RECENT)
