"""Labels and scores, counted by score: all that a metric of a binary classifier depends on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

# So many examples of a slice are kept one by one; beyond, neighbours are put together.
EXACT = 2_000_000
_KEPT = 500_000


@dataclasses.dataclass(frozen=True)
class ScoreCounts:
    """Weights of the examples with each score; n is the number of different scores.

    Attributes:
      score: Ascending, float64 [n].
      positive: Summed weight of the examples with the event, float64 [..., n]; leading axes are
        those of resampled data.
      negative: Likewise of the others.
      positive_squares: Summed squares of these weights, float64 [n].
      negative_squares: Likewise of the others.
      examples: Number of examples that have a weight above 0, whatever it is.
      positives: Number of those with the event.
    """

    score: np.ndarray
    positive: np.ndarray
    negative: np.ndarray
    positive_squares: np.ndarray
    negative_squares: np.ndarray
    examples: int
    positives: int

    @property
    def negatives(self) -> int:
        return self.examples - self.positives

    @classmethod
    def count(
        cls, labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None
    ) -> ScoreCounts:
        """Counts examples, each array [rows].

        Raises:
          ValueError: A label is neither 0 nor 1, a score is not between 0 and 1, or a weight is
            negative.
        """
        labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
        weights = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
        _check(labels, scores, weights)
        events = labels > 0
        score, place = np.unique(scores, return_inverse=True)

        def summed(of: np.ndarray, amount: np.ndarray) -> np.ndarray:
            return np.bincount(place[of], amount[of], minlength=len(score))

        squares = np.square(weights)
        return cls(
            score,
            summed(events, weights),
            summed(~events, weights),
            summed(events, squares),
            summed(~events, squares),
            int((weights > 0).sum()),
            int((events & (weights > 0)).sum()),
        )

    @classmethod
    def merge(cls, parts: Iterable[ScoreCounts]) -> ScoreCounts:
        """Adds up what was counted apart; above EXACT different scores neighbours are joined."""
        parts = [*parts]
        score, place = np.unique(np.concatenate([p.score for p in parts]), return_inverse=True)

        def summed(name: str) -> np.ndarray:
            values = np.concatenate([getattr(part, name) for part in parts])
            return np.bincount(place, values, minlength=len(score))

        merged = cls(
            score,
            summed("positive"),
            summed("negative"),
            summed("positive_squares"),
            summed("negative_squares"),
            sum(part.examples for part in parts),
            sum(part.positives for part in parts),
        )
        return merged.joined(_KEPT) if len(score) > EXACT else merged

    def joined(self, groups: int) -> ScoreCounts:
        """Neighbouring scores put together, to about `groups` of equal share.

        A group's share is the mean of its share of the positive and of the negative weight, so
        that rare positives are kept apart. A group gets its mean score. AUC changes by less than
        2 / groups, whatever the scores are.
        """
        if len(self.score) <= groups:
            return self
        share = _share(self.positive) + _share(self.negative)
        number = np.minimum((np.cumsum(share) - share / 2) * groups / share.sum(), groups - 1)
        starts = np.flatnonzero(np.diff(number.astype(np.int64), prepend=-1))

        def summed(values: np.ndarray) -> np.ndarray:
            return np.add.reduceat(values, starts)

        weight = self.positive + self.negative
        total = summed(weight)
        mean = summed(weight * self.score) / np.where(total > 0, total, 1)
        return dataclasses.replace(
            self,
            score=np.where(total > 0, mean, self.score[starts]),
            positive=summed(self.positive),
            negative=summed(self.negative),
            positive_squares=summed(self.positive_squares),
            negative_squares=summed(self.negative_squares),
        )

    def resampled(self, replicates: int, seed: int) -> ScoreCounts:
        """Poisson bootstrap (Chamandy et al., "Estimating Uncertainty for Massive Data Streams"
        (2012)): each example is drawn as often as a Poisson variable of mean 1 says.

        Of the examples with one score and label only the sum counts, which is Poisson as well;
        unequal weights are taken for as many equal ones as have the same sum and variance.

        Returns:
          Counts with `positive` and `negative` of shape [replicates, n].
        """
        chance = np.random.default_rng(seed)

        def drawn(weight: np.ndarray, squares: np.ndarray) -> np.ndarray:
            each = np.divide(squares, weight, out=np.zeros_like(weight), where=weight > 0)
            number = np.divide(weight, each, out=np.zeros_like(weight), where=each > 0)
            return chance.poisson(number, (replicates, len(number))) * each

        return dataclasses.replace(
            self,
            positive=drawn(self.positive, self.positive_squares),
            negative=drawn(self.negative, self.negative_squares),
        )


def _share(weights: np.ndarray) -> np.ndarray:
    total = weights.sum()
    return weights / total if total else np.zeros_like(weights)


def check_weights(weights: np.ndarray) -> None:
    """Raises ValueError for a weight that is negative or not finite."""
    right = np.isfinite(weights) & (weights >= 0)
    if not right.all():
        raise ValueError(f"a weight must be 0 or more. Received: {weights[~right][0]}")


def _check(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> None:
    if not np.isin(labels, (0, 1)).all():
        wrong = labels[~np.isin(labels, (0, 1))][0]
        raise ValueError(
            f"a label must be 0 or 1. Received: {wrong}. For a label that is a quantity, name "
            "metrics of regression in evaluator.metrics: mse, mae, rmse, r2"
        )
    if not np.isfinite(scores).all():
        number = int((~np.isfinite(scores)).sum())
        raise ValueError(
            f"{number:,} of {len(scores):,} scores are not finite numbers; look for values in the "
            "examples that the model cannot take"
        )
    outside = (scores < 0) | (scores > 1)
    if outside.any():
        raise ValueError(
            f"a score must be a probability, between 0 and 1. Received: {scores[outside][0]:g}; "
            "does evaluator.prediction name log-odds?"
        )
    check_weights(weights)
