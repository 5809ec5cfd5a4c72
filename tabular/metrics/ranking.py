"""Metrics of one list of examples, such as a page of results, in the order of their scores.

Examples with equal scores count as the mean over all of their orders, which depends on nothing
else: McSherry and Najork, "Computing Information Retrieval Performance Measures Efficiently in the
Presence of Tied Scores" (2008). A list is NaN if there is nothing to rank: with a single example,
or without a label above 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from tabular.metrics.metric_names import MAP, NDCG

_Numbers = NDArray[np.float64]


def ndcg(gains: _Numbers, scores: _Numbers, at: int | None = None) -> float:
    """Returns the normalized discounted cumulative gain, like scikit-learn's ndcg_score.

    Järvelin and Kekäläinen, "Cumulated Gain-Based Evaluation of IR Techniques" (2002), with the
    gain itself, not 2 ** gain - 1, and the discount log2(1 + place).

    Args:
      gains: Gain of each example, such as a label of 0 or 1 or a grade, [examples].
      scores: Score of each example, [examples].
      at: Number of places that count; None for all.

    Raises:
      ValueError: A gain is negative or not finite.
    """
    if not (np.isfinite(gains) & (gains >= 0)).all():
        raise ValueError(
            f"{NDCG} needs labels of 0 or more, which are gains. Received: {gains.min():g}"
        )
    if _nothing_to_rank(gains):
        return math.nan
    discounts = _discounts(len(gains), at)
    _, place, count = np.unique(-scores, return_inverse=True, return_counts=True)
    mean_gain = np.bincount(place, gains) / count
    ends = np.cumsum(count)
    sums = np.concatenate([[0.0], np.cumsum(discounts)])
    found = mean_gain @ (sums[ends] - sums[ends - count])
    return float(found / (np.sort(gains)[::-1] @ discounts))


def average_precision(labels: _Numbers, scores: _Numbers, at: int | None = None) -> float:
    """Returns the mean of the precision at the place of each positive.

    Without ties and `at` it is scikit-learn's average_precision_score. With `at`, only the first
    places count, and the sum is divided by the number of positives that fit there.

    Args:
      labels: 1 for the positives, 0 for others, [examples].
      scores: Score of each example, [examples].
      at: Number of places that count; None for all.

    Raises:
      ValueError: A label is neither 0 nor 1.
    """
    if not np.isin(labels, (0, 1)).all():
        wrong = labels[~np.isin(labels, (0, 1))][0]
        raise ValueError(f"{MAP} needs labels of 0 and 1. Received: {wrong:g}")
    if _nothing_to_rank(labels):
        return math.nan
    _, place, count = np.unique(-scores, return_inverse=True, return_counts=True)
    hits = np.bincount(place, labels)
    before, hits_before = np.cumsum(count) - count, np.cumsum(hits) - hits
    # Of each place: the examples and hits of its tie, those before it, and its number in the tie.
    n, r, n_before, r_before = (
        np.repeat(values, count) for values in (count, hits, before, hits_before)
    )
    places = np.arange(1, len(labels) + 1)
    within = (places - n_before - 1) * (r - 1) / np.maximum(n - 1, 1)
    expected = r / n * (r_before + within + 1) / places
    most = len(labels) if at is None else at
    return float(expected[:most].sum() / min(labels.sum(), most))


LISTS: Mapping[str, Callable[[_Numbers, _Numbers, int | None], float]] = {
    NDCG: ndcg,
    MAP: average_precision,
}


def _nothing_to_rank(gains: _Numbers) -> bool:
    return len(gains) < 2 or not (gains > 0).any()


def _discounts(places: int, at: int | None) -> _Numbers:
    found = 1 / np.log2(np.arange(2, places + 2))
    found[places if at is None else at :] = 0
    return np.asarray(found)
