"""The features of the fraud model, which etl.py computes, and how each is treated."""

from __future__ import annotations

from applications.fraud.aggregations import COUNTS, RATES
from tabular.feature_set import Categorical, FeatureSet, Numeric

FEATURES = FeatureSet(
    label="fraud",
    classes=("fraud", "genuine"),
    # For joining scores to payments. `label_open` is 1 while a chargeback may still come.
    keys=("payment_id", "card", "timestamp_ms", "label_open", "amount_band"),
    features=(
        Categorical("category", vocabulary=100),
        Categorical("country", vocabulary=300),
        Categorical("network_kind", vocabulary=20),
        Categorical("system", vocabulary=20),
        Numeric("amount", log=True),
        Numeric("amount_log_ratio", buckets=10),
        Numeric("amount_deviation"),
        Numeric("new_device"),
        Numeric("known_card"),
        Numeric("distance_km", log=True, buckets=10),
        Numeric("reputation", buckets=20),
        Numeric("hour_sin"),
        Numeric("hour_cos"),
        Numeric("card_group", log=True),
        *(Numeric(name, log=True) for name in COUNTS),
        *(Numeric(name) for name in RATES),
    ),
)
