"""Counts labels by score, which is all that a metric of a binary classifier depends on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Above EXACT different scores in a slice, about _JOINED neighbouring scores become one.
EXACT = 2_000_000
_JOINED = 4


@dataclasses.dataclass(frozen=True)
class ScoreCounts:
    """Weights of the examples with each score, where n is the number of different scores.

    Attributes:
      score: Scores in ascending order, float64 [n].
      positive: Total weight of the positives with each score, float64 [..., n]. Leading axes are
        resampled data sets.
      negative: Total weight of the negatives, float64 [..., n].
      positive_squares: Total squared weight of the positives, float64 [n].
      negative_squares: Total squared weight of the negatives, float64 [n].
      examples: Number of examples with a weight above 0.
      positives: Number of positives with a weight above 0.
    """

    score: NDArray[np.float64]
    positive: NDArray[np.float64]
    negative: NDArray[np.float64]
    positive_squares: NDArray[np.float64]
    negative_squares: NDArray[np.float64]
    examples: int
    positives: int

    @property
    def negatives(self) -> int:
        return self.examples - self.positives

    @classmethod
    def count(
        cls,
        labels: NDArray[Any],
        scores: NDArray[np.floating[Any]],
        weights: NDArray[np.floating[Any]] | None = None,
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

        def summed(chosen: NDArray[np.bool_], amount: NDArray[np.float64]) -> NDArray[Any]:
            return np.bincount(place[chosen], amount[chosen], minlength=len(score))

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
    def merge(cls, parts: Iterable[ScoreCounts], exact: int | None = None) -> ScoreCounts:
        """Adds up counts.

        Args:
          parts: Counts to add up.
          exact: Number of different scores above which neighbours are joined to a quarter of them;
            EXACT by default.
        """
        exact = EXACT if exact is None else exact
        parts = [*parts]
        score, place = np.unique(np.concatenate([p.score for p in parts]), return_inverse=True)

        def summed(name: str) -> NDArray[Any]:
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
        return merged.joined(exact // _JOINED) if len(score) > exact else merged

    def joined(self, groups: int) -> ScoreCounts:
        """Joins neighbouring scores to about `groups` groups of equal share.

        A group's share is the mean of its shares of the positive and of the negative weight, so
        rare positives stay apart. A group gets its mean score. AUC changes by less than 2 / groups,
        whatever the scores are.
        """
        if len(self.score) <= groups:
            return self
        share = _share(self.positive) + _share(self.negative)
        number = np.minimum((np.cumsum(share) - share / 2) * groups / share.sum(), groups - 1)
        starts = np.flatnonzero(np.diff(number.astype(np.int64), prepend=-1))

        def summed(values: NDArray[np.float64]) -> NDArray[np.float64]:
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
        """Resamples the examples by a Poisson bootstrap.

        Each example is drawn a Poisson number of times with mean 1 (Chamandy et al., "Estimating
        Uncertainty for Massive Data Streams" (2012)). Only the sum over examples with one score and
        label matters, and it is Poisson too. Unequal weights are replaced by equal ones with the
        same sum and variance.

        Returns:
          Counts with `positive` and `negative` of shape [replicates, n].
        """
        chance = np.random.default_rng(seed)

        def drawn(weight: NDArray[np.float64], squares: NDArray[np.float64]) -> NDArray[Any]:
            each = np.divide(squares, weight, out=np.zeros_like(weight), where=weight > 0)
            number = np.divide(weight, each, out=np.zeros_like(weight), where=each > 0)
            return np.multiply(chance.poisson(number, (replicates, len(number))), each)

        return dataclasses.replace(
            self,
            positive=drawn(self.positive, self.positive_squares),
            negative=drawn(self.negative, self.negative_squares),
        )


def _share(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    total = float(weights.sum())
    return weights / total if total else np.zeros_like(weights)


def check_weights(weights: NDArray[np.float64]) -> None:
    """Raises ValueError for a weight that is negative or not finite."""
    right = np.isfinite(weights) & (weights >= 0)
    if not right.all():
        raise ValueError(f"a weight must be 0 or more. Received: {weights[~right][0]}")


def _check(labels: NDArray[Any], scores: NDArray[np.float64], weights: NDArray[np.float64]) -> None:
    if not np.isin(labels, (0, 1)).all():
        wrong = labels[~np.isin(labels, (0, 1))][0]
        raise ValueError(
            f"a label must be 0 or 1. Received: {wrong}. For a label that is a quantity, use "
            "mse, mae, rmse or r2 in evaluator.metrics"
        )
    if not np.isfinite(scores).all():
        number = int((~np.isfinite(scores)).sum())
        raise ValueError(
            f"scores must be finite numbers. Received: {number:,} of {len(scores):,} that are not. "
            "Look for feature values that the model cannot handle"
        )
    outside = (scores < 0) | (scores > 1)
    if outside.any():
        raise ValueError(
            f"a score must be a probability between 0 and 1. Received: {scores[outside][0]:g}. "
            "Check that evaluator.prediction does not name log-odds"
        )
    check_weights(weights)
