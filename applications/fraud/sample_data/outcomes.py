"""Which payments are fraud, when they are disputed, and which ones analysts look at."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from applications.fraud.sample_data.risk import NEVER, probability
from applications.fraud.sample_data.traffic import DAY_MS
from applications.fraud.sample_data.world import (
    LABELS,
    REVIEWS,
    Floats,
    Indices,
    random_stream,
)

_MEDIAN_DELAY, _SPREAD = 0.28, 0.7  # of the longest delay, and of its logarithm
_NOISE = 1.5  # of the log-odds by which the present rules choose what is looked at
_RIGHT = 0.97  # share of decisions that are right
_MOST_MS = 20 * 3_600_000  # time until a decision


@dataclasses.dataclass(frozen=True)
class Delays:
    """When a chargeback comes after its payment, in milliseconds."""

    least_ms: int = DAY_MS
    most_ms: int = 45 * DAY_MS


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """Outcomes by the place of their payment in a day.

    Attributes:
      disputed: Whether a chargeback comes, [payments]. It is the label.
      probability: True probability of a chargeback, [payments].
      chargeback_ms: Time of the chargeback, [payments]; 0 without one.
      reviewed: Places of the payments that analysts look at, [reviews].
      decision_ms: Times of their decisions, [reviews].
      found_fraud: Decisions, [reviews].
    """

    disputed: npt.NDArray[np.bool_]
    probability: Floats
    chargeback_ms: Indices
    reviewed: Indices
    decision_ms: Indices
    found_fraud: npt.NDArray[np.bool_]


def outcomes_of_day(
    log_odds: Floats,
    time_ms: Indices,
    day: int,
    seed: int,
    delays: Delays,
    review_share: float,
) -> Outcomes:
    """Draws what becomes of a day's payments, [payments] each."""
    rng, size = random_stream(seed, LABELS, day), len(log_odds)
    chance = probability(log_odds)
    fraud = rng.random(size) < chance
    disputed = fraud & (rng.random(size) >= NEVER)
    delay = delays.most_ms * _MEDIAN_DELAY * np.exp(rng.normal(0, _SPREAD, size))
    delay = np.clip(delay, delays.least_ms, delays.most_ms).astype(np.int64)
    other = random_stream(seed, REVIEWS, day)
    suspicion = log_odds + other.normal(0, _NOISE, size)
    number = round(review_share * size)
    reviewed = np.sort(np.argsort(-suspicion, kind="stable")[:number])
    right = other.random(number) < _RIGHT
    return Outcomes(
        disputed,
        chance * (1 - NEVER),
        np.where(disputed, time_ms + delay, 0),
        reviewed,
        time_ms[reviewed] + other.integers(600_000, _MOST_MS, number),
        np.where(right, fraud[reviewed], ~fraud[reviewed]),
    )
