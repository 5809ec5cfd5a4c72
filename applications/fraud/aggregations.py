"""Declares the features of the past, once for the batch, hourly operation and serving.

The streams are those of etl.py's `events`: payments, and chargebacks at the time at which they
came, with the columns of their payment. So a dispute is no part of any feature before it is known.
"""

from __future__ import annotations

from features.aggregations import Count, Distinct, Last, Mean, Rate, Sum, Variance
from features.groups import FeatureGroup

PAYMENTS, CHARGEBACKS = "payments", "chargebacks"
# Sums are of whole cents, which are the same in any order.
# Tiles of ten minutes for short windows; of an hour, the longest that hourly operation can keep.
_SHORT, _LONG = ("10m", "1h"), ("24h", "30d")
# The entities of a velocity, and whose number it counts beside payments and their sum.
_VELOCITIES = {"card": "merchant", "device": "card", "merchant": "card", "network": "card"}


def _velocity(name: str, counted: str) -> tuple[FeatureGroup, FeatureGroup]:
    values = (Count(), Sum("amount_cents", name="sum_cents"), Distinct(counted))
    return (
        FeatureGroup(name, PAYMENTS, (name,), _SHORT, values, tile="10m"),
        FeatureGroup(name, PAYMENTS, (name,), _LONG, values),
    )


_VELOCITY = tuple(group for pair in _VELOCITIES.items() for group in _velocity(*pair))
# The card's own amounts, and its last country.
_OWN = FeatureGroup(
    "own",
    PAYMENTS,
    ("card",),
    ("30d",),
    (
        Mean("amount_cents", "mean_cents", empty=0.0),
        Variance("amount_cents", "variance_cents", empty=0.0),
        Last("country"),
    ),
    column="{group}_{name}",
)
# A device is new to a card if the card has used it for less than a day.
_PAIR = FeatureGroup("card_device", PAYMENTS, ("card", "device"), _LONG, (Count(),))
# The prior is the share of all payments that are disputed, roughly.
_DISPUTED = Rate(of=PAYMENTS, prior=0.003, strength=500, name="fraud_rate")
_RATES = tuple(
    FeatureGroup(name, CHARGEBACKS, (name,), ("30d",), (_DISPUTED,))
    for name in ("merchant", "network")
)

GROUPS = (*_VELOCITY, _OWN, _PAIR, *_RATES)

COUNTS = tuple(name for group in (*_VELOCITY, _PAIR) for name in group.column_names())
RATES = tuple(name for group in _RATES for name in group.column_names())
LAST_COUNTRY = _OWN.column_names()[-1]
