"""Raw features of a payment that is to be scored, equal to what the ETL would compute."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from applications.fraud.aggregations import COUNTS, GROUPS, LAST_COUNTRY
from applications.fraud.card_groups import CARD_GROUP, DAY_MS, day_name
from applications.fraud.etl import UNKNOWN, UNKNOWN_REPUTATION, band_of
from applications.fraud.features import FEATURES
from applications.fraud.places import DISTANCES
from applications.fraud.profiles import CARD, DEVICE, MERCHANT, NETWORK, NO_CARD
from applications.fraud.row_features import own_features, time_features
from features.online_features import OnlineFeatures
from features.online_store import OnlineStore
from serving.client.encode import encode

_log = logging.getLogger(__name__)
_WHOLE = {"new_device", "known_card", CARD_GROUP} | {n for n in COUNTS if "_sum_" not in n}
_FLOATS = {number.name for number in FEATURES.numeric} - _WHOLE
_TEXTS = {category.name for category in FEATURES.categorical}


class UnknownMerchantError(LookupError):
    """A payment's merchant is not in the table."""


@dataclasses.dataclass(frozen=True)
class Payment:
    """A payment that is to be scored; fields as in the log."""

    payment_id: str
    card: str
    merchant: str
    device: str | None
    network: str | None
    country: str | None
    amount_cents: int
    timestamp_ms: int


class RequestFeatures:
    """Computes the features of payments from the online store.

    Args:
      store: Store of profiles and of the past.
    """

    def __init__(self, store: OnlineStore):
        self.online = OnlineFeatures(store, GROUPS)
        self._told: int | None = None  # day whose card groups were missing

    def row(self, payment: Payment) -> dict[str, Any]:
        """Returns feature -> value.

        Raises:
          UnknownMerchantError: The merchant is not in the table.
          OnlineStoreError: The store cannot be used.
        """
        keys = {
            MERCHANT: payment.merchant,
            DEVICE: payment.device,
            NETWORK: payment.network,
            CARD: payment.card,
        }
        asked = {kind: [key] for kind, key in keys.items() if key is not None}
        asked[CARD].append(NO_CARD)
        found = self.online.profiles(asked)
        known = {kind: found.get(kind, {}).get(key or "", {}) for kind, key in keys.items()}
        if payment.merchant not in found[MERCHANT]:
            raise UnknownMerchantError(f"merchant '{payment.merchant}' is not in the table")
        given = dataclasses.asdict(payment)
        (past,) = self.online.columns([given], payment.timestamp_ms)
        amount, country = payment.amount_cents / 100, payment.country or UNKNOWN
        own = own_features(past, amount, np, np.where)
        if payment.device is None:
            own["new_device"] = 0
        reputation = known[NETWORK].get("reputation")
        row = {
            **past,
            **own,
            **time_features(payment.timestamp_ms, np),
            "category": known[MERCHANT]["category"] or UNKNOWN,
            "country": country,
            "network_kind": known[NETWORK].get("network_kind") or UNKNOWN,
            "system": known[DEVICE].get("system") or UNKNOWN,
            "reputation": UNKNOWN_REPUTATION if reputation is None else reputation,
            "amount": amount,
            "distance_km": DISTANCES.get((past[LAST_COUNTRY], country), 0.0),
            CARD_GROUP: self._card_group(found[CARD], payment),
        }
        wanted = _TEXTS | _FLOATS | _WHOLE
        return {name: value for name, value in row.items() if name in wanted}

    def example(self, payment: Payment) -> bytes:
        """Returns the result of `row` as a serialized tf.Example."""
        return encode(self.row(payment), _TEXTS, _FLOATS)

    def _card_group(self, known: Mapping[str, Mapping[str, Any]], payment: Payment) -> int:
        """Returns the group of the day before; 0 until that day is written, which is logged."""
        day = payment.timestamp_ms // DAY_MS - 1
        newest = known.get(NO_CARD, {}).get("day")
        if newest == day:
            return int(known.get(payment.card, {}).get("cards", 0))
        if self._told != day:
            self._told = day
            _log.warning(
                "the card groups of %s are not in the online store yet, and count as 0. Run python "
                "-m applications.fraud.daily, and streaming ingest",
                day_name(day),
            )
        return 0


def amount_band(payment: Payment) -> str:
    """Returns the band of AMOUNT_BANDS, which the examples carry for slices."""
    return band_of(payment.amount_cents / 100)
