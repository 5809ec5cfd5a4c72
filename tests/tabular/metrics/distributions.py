"""Scores and labels that a metric has to be right for, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

Drawn = tuple[np.ndarray, np.ndarray]  # labels, scores


def _balanced(chance: np.random.Generator) -> Drawn:
    scores = chance.random(20_000)
    return (chance.random(20_000) < scores).astype(int), scores


def _log_uniform(chance: np.random.Generator) -> Drawn:
    """As a fraud model's: 94 % of the scores are below 0.001 with the exponent's fourth power."""
    scores = 10 ** (-7 * chance.random(50_000))
    return (chance.random(50_000) < scores).astype(int), scores


def _mostly_tiny(chance: np.random.Generator) -> Drawn:
    scores = 10 ** -(7 - 7 * chance.random(60_000) ** 6)
    return (chance.random(60_000) < np.sqrt(scores) / 10).astype(int), scores


def _rare(chance: np.random.Generator) -> Drawn:
    labels = (chance.random(100_000) < 0.001).astype(int)
    return labels, 1 / (1 + np.exp(-(chance.normal(-8, 1, 100_000) + 2 * labels)))


def _one_bin(low: float, high: float) -> Callable[[np.random.Generator], Drawn]:
    def drawn(chance: np.random.Generator) -> Drawn:
        scores = chance.uniform(low, high, 20_000)
        place = (scores - low) / (high - low)
        return (chance.random(20_000) < place).astype(int), scores

    return drawn


def _ties(chance: np.random.Generator) -> Drawn:
    scores = chance.choice([0.001, 0.002, 0.3, 0.9], 20_000, p=[0.6, 0.3, 0.09, 0.01])
    return (chance.random(20_000) < scores).astype(int), scores


def _one_positive(chance: np.random.Generator) -> Drawn:
    scores = chance.random(5_000)
    labels = np.zeros(5_000, int)
    labels[np.argsort(scores)[-40]] = 1
    return labels, scores


def _as_served(chance: np.random.Generator) -> Drawn:
    """32-bit, as a model gives them, with saturated ones."""
    scores = (1 / (1 + np.exp(-chance.normal(0, 12, 20_000)))).astype(np.float32)
    return (chance.random(20_000) < 0.4).astype(int), scores.astype(np.float64)


DISTRIBUTIONS: Mapping[str, Callable[[np.random.Generator], Drawn]] = {
    "balanced": _balanced,
    "log-uniform from 1e-7 to 1": _log_uniform,
    "nearly all below 0.001": _mostly_tiny,
    "0.1 % positives": _rare,
    "within one bin near 0": _one_bin(0.0002, 0.0008),
    "within one bin near one half": _one_bin(0.5001, 0.5004),
    "ties": _ties,
    "a single positive": _one_positive,
    "saturated 32-bit scores": _as_served,
}


def drawn(name: str) -> Drawn:
    """Labels and scores [rows] of a distribution, the same each time."""
    return DISTRIBUTIONS[name](np.random.default_rng(11))
