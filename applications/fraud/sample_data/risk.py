"""The true probability that a payment is disputed as fraud, from what was to be seen before it.

Thieves' payments are not marked. A payment is fraud with a probability that follows from the past
of its card, device and network, as an observer could have known it. So the best reachable model is
known.
"""

from __future__ import annotations

import dataclasses
from collections import deque

import numpy as np

from applications.fraud.places import DISTANCES
from applications.fraud.sample_data.traffic import DAY_MS, Payments
from applications.fraud.sample_data.world import COUNTRY_NAMES, Floats, World

CATEGORY = np.array([-0.3, -0.3, -0.2, 0, -0.2, 0.2, 0.2, 0, 0, 0, 0.6, 0.5, 0.8, 0.6, 0.9])
NEVER = 0.08  # share of frauds that nobody disputes
_FAR_KM = 1_500.0
_MONTH_MS, _HOUR_MS = 30 * DAY_MS, 3_600_000
_FAR = np.array(
    [[DISTANCES.get((a, b), 0.0) > _FAR_KM for b in COUNTRY_NAMES] for a in COUNTRY_NAMES]
)


@dataclasses.dataclass(frozen=True)
class RiskModel:
    """Contributions to the log-odds of fraud, beside those of the merchant's category.

    Attributes:
      base: Log-odds of a payment without any sign of fraud.
      new_device: The card has paid before, and first with this device in the last 24 hours.
      shared_device: Factor of log(1 + other cards that the device has paid with in 24 hours).
      network: Factor of the network's risk, 0 to 1.
      amount: Factor of log(amount / mean of the card in 30 days), from -1 to 2.5.
      distance: The card's last payment was far away.
      burst: Factor of log(1 + payments of the card in the last hour).
    """

    base: float = -10.5
    new_device: float = 4.5
    shared_device: float = 2.5
    network: float = 4.0
    amount: float = 1.3
    distance: float = 2.0
    burst: float = 1.3


class Observer:
    """Sees payments in order of time, and remembers a month of each card and a day of each device.

    Args:
      model: Contributions to the log-odds.
      cards: Number of cards.
    """

    def __init__(self, model: RiskModel, cards: int):
        self._model = model
        self._paid: list[deque[tuple[int, int]]] = [deque() for _ in range(cards)]
        self._total = np.zeros(cards, np.int64)
        self._country = np.full(cards, -1)
        self._first: dict[tuple[int, int], int] = {}  # (card, device) -> time of the first use
        self._cards_of: dict[int, dict[int, int]] = {}  # device -> card -> time

    def log_odds(self, payments: Payments, world: World) -> Floats:
        """Returns the log-odds of fraud of each payment, [payments], and remembers them."""
        found = np.empty(len(payments.time_ms))
        columns = (
            payments.time_ms, payments.card, payments.device, payments.country, payments.amount,
        )  # fmt: skip
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for place, (time, card, device, country, amount) in enumerate(rows):
            found[place] = self._one(time, card, device, country, amount)
        found += self._model.base + self._model.network * world.network_risk[payments.network]
        return np.asarray(found + CATEGORY[world.merchant_category[payments.merchant]])

    def _one(self, time: int, card: int, device: int, country: int, amount: int) -> float:
        model, paid = self._model, self._paid[card]
        while paid and paid[0][0] < time - _MONTH_MS:
            self._total[card] -= paid.popleft()[1]
        result = 0.0
        if paid and self._first.setdefault((card, device), time) >= time - DAY_MS:
            result += model.new_device
        of_device = self._cards_of.setdefault(device, {})
        others = sum(1 for one, at in of_device.items() if one != card and at >= time - DAY_MS)
        result += model.shared_device * np.log1p(others)
        if paid:
            ratio = amount * len(paid) / self._total[card]
            result += model.amount * min(max(np.log(ratio), -1.0), 2.5)
            recent = 0
            for at, _ in reversed(paid):
                if at < time - _HOUR_MS:
                    break
                recent += 1
            result += model.burst * np.log1p(recent)
            result += model.distance * _FAR[self._country[card], country]
        paid.append((time, amount))
        self._total[card] += amount
        self._country[card] = country
        self._first.setdefault((card, device), time)
        of_device[card] = time
        return float(result)


def probability(log_odds: Floats) -> Floats:
    """Returns the probability that a payment is fraud."""
    return np.asarray(1 / (1 + np.exp(-log_odds)))
