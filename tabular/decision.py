"""Chooses the threshold of a binary model, from the scores of a split.

Scores and thresholds are numbers of 32 bits, because the served graph compares them as such. A
chosen threshold lies halfway between the lowest score that is reviewed and the highest that is not,
so that rounding, which depends on the size of a batch, moves no example across it.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabular.decision_rule import Costs, DecisionRule
from tabular.metrics.scores import ScoreCounts

POINTS = 300  # most points of a curve
LEAST_SHARE = 1e-4  # share at which a curve begins
_ROUNDING = 1e-9  # relative error of a sum of weights
_TINY = np.finfo(np.float32).tiny  # TensorFlow takes smaller numbers for 0


@dataclasses.dataclass(frozen=True)
class Cut:
    """A threshold and its results; a number is NaN if it is undefined.

    Attributes:
      share: Share of the examples that are reviewed.
      threshold: Smallest score that is reviewed, a number of 32 bits.
      precision: Share of positives among the reviewed examples.
      recall: Share of all positives that are reviewed.
      cost: Mean cost of an example; NaN without costs.
    """

    share: float
    threshold: float
    precision: float
    recall: float
    cost: float

    def to_json(self) -> dict[str, float | None]:
        """Returns the fields, with None in place of NaN."""
        fields = dataclasses.asdict(self)
        return {name: one if math.isfinite(one) else None for name, one in fields.items()}


@dataclasses.dataclass(frozen=True)
class Decision:
    """A threshold, and the way it was chosen.

    Attributes:
      rule: Rule that it follows.
      chosen: Threshold, and its results on the split.
      rows: Number of examples with a weight above 0.
      positives: Number of positives among them.
      warnings: Lines about results that a reader would not expect.
      curve: Other thresholds by rising share, at most POINTS.
    """

    rule: DecisionRule
    chosen: Cut
    rows: int
    positives: int
    warnings: tuple[str, ...]
    curve: tuple[Cut, ...]

    @property
    def threshold(self) -> float:
        return self.chosen.threshold

    def to_json(self) -> dict[str, Any]:
        """Returns the content of decision.json."""
        results = self.chosen.to_json()
        threshold = results.pop("threshold")
        return {
            "threshold": threshold,
            "chosen_by": self.rule.chosen_by,
            "budget": self.rule.budget,
            "costs": self.rule.costs.model_dump() if self.rule.costs else None,
            "split": "eval",
            **results,
            "rows": self.rows,
            "positives": self.positives,
            "warnings": [*self.warnings],
            "curve": [cut.to_json() for cut in self.curve],
        }


def choose(rule: DecisionRule, counts: ScoreCounts) -> Decision:
    """Chooses a threshold.

    A budget gets the smallest threshold whose share of reviewed weight is at most the budget. Equal
    scores are reviewed together or not at all. Costs get the threshold with the lowest cost, and of
    several the one that reviews fewest.

    Args:
      rule: Budget, threshold or costs.
      counts: Exact counts by score of 32 bits, so not `joined`.

    Raises:
      ValueError: There are no examples.
    """
    if not counts.examples:
        raise ValueError("there are no examples to choose a threshold on")
    cuts = _Cuts(_as_tensorflow_reads(counts), rule.costs)
    if rule.threshold is not None:
        threshold = float(np.float32(rule.threshold))
        place = int((cuts.scores >= threshold).sum())
        chosen = dataclasses.replace(cuts.cut(place), threshold=threshold)
    else:
        place = cuts.of_budget(rule.budget) if rule.budget is not None else cuts.cheapest()
        chosen = cuts.cut(place)
    warnings = tuple(_warnings(rule, counts, cuts, place))
    return Decision(rule, chosen, counts.examples, counts.positives, warnings, cuts.curve())


def _as_tensorflow_reads(counts: ScoreCounts) -> ScoreCounts:
    """Returns the counts with scores below the smallest normal number as 0."""
    read = dataclasses.replace(counts, score=np.where(counts.score < _TINY, 0.0, counts.score))
    return ScoreCounts.merge([read], exact=len(counts.score))


class _Cuts:
    """The results of reviewing the k highest scores, for each k from 0 to all.

    Attributes:
      scores: Different scores of examples with a weight, falling, [n].
      share, precision, recall, cost: Results for each k, [n + 1].
    """

    def __init__(self, counts: ScoreCounts, costs: Costs | None):
        weight = counts.positive + counts.negative
        counting = np.flatnonzero(weight)[::-1]
        self.scores = counts.score[counting]
        positive, reviewed = _summed(counts.positive[counting]), _summed(weight[counting])
        total, positives = reviewed[-1], positive[-1]
        with np.errstate(invalid="ignore", divide="ignore"):
            self.share = reviewed / total
            self.precision = positive / reviewed
            self.recall = positive / positives
        self.cost = np.full(len(reviewed), math.nan)
        if costs is not None:
            missed = np.maximum(positives - positive, 0)
            self.cost = (costs.review * reviewed + costs.missed * missed) / total

    def cut(self, place: int) -> Cut:
        """Returns the result of reviewing the `place` highest scores."""
        columns = (self.precision, self.recall, self.cost)
        results = (float(column[place]) for column in columns)
        return Cut(float(self.share[place]), self.threshold(place), *results)

    def threshold(self, place: int) -> float:
        """Returns the threshold that reviews the `place` highest scores and no other."""
        if place == len(self.scores):
            return 0.0
        if place == 0:
            return _above(self.scores[0])
        return _between(self.scores[place], self.scores[place - 1])

    def of_budget(self, budget: float) -> int:
        """Returns how many of the highest scores fit a share."""
        return int(np.searchsorted(self.share, budget * (1 + _ROUNDING), side="right")) - 1

    def cheapest(self) -> int:
        """Returns how many of the highest scores cost least."""
        return int(np.argmax(self.cost <= self.cost.min() * (1 + _ROUNDING)))

    def curve(self) -> tuple[Cut, ...]:
        """Returns cuts whose shares are evenly spaced on a logarithmic axis."""
        first = max(LEAST_SHARE, float(self.share[1]))
        places = {self.of_budget(share) for share in np.geomspace(first, 1, POINTS)}
        return tuple(self.cut(place) for place in sorted(places) if place)


def _summed(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(weights)])


def _between(low: float, high: float) -> float:
    """Returns the 32-bit number halfway between two; `high` itself if there is none between."""
    middle = np.float32((low + high) / 2)
    return float(middle) if low < middle and middle >= _TINY else float(high)


def _above(highest: float) -> float:
    """Returns a 32-bit number halfway between the highest score and 1; above 1 if it is 1."""
    middle = np.float32((highest + 1) / 2)
    return float(middle if middle > highest else np.nextafter(np.float32(highest), np.float32(2)))


def _warnings(rule: DecisionRule, counts: ScoreCounts, cuts: _Cuts, place: int) -> list[str]:
    """Returns a line for each thing that makes the decision useless or its numbers undefined."""
    found = []
    if not counts.positives or counts.positives == counts.examples:
        label = 1 if counts.positives else 0
        found.append(
            f"all {counts.examples:,} examples have the label {label}, so precision and recall say "
            "nothing"
        )
    if place == 0:
        found.append(f"nothing is reviewed: {_why_nothing(rule, counts, cuts)}")
    elif place == len(cuts.scores):
        found.append("everything is reviewed, so the model decides nothing")
    elif rule.budget is not None and cuts.share[place] < rule.budget / 2:
        found.append(
            f"only {cuts.share[place]:.3%} of the examples are reviewed, less than half of the "
            f"budget of {rule.budget:.3%}: the next {cuts.share[place + 1] - cuts.share[place]:.3%}"
            f" of them have the same score, {cuts.scores[place]:.6g}"
        )
    return found


def _why_nothing(rule: DecisionRule, counts: ScoreCounts, cuts: _Cuts) -> str:
    highest = f"{cuts.scores[0]:.6g}"
    if rule.threshold is not None:
        return f"the highest score is {highest}, below the threshold of {rule.threshold:g}"
    if rule.budget is not None and counts.examples * rule.budget < 1 < len(cuts.scores):
        return (
            f"split eval has {counts.examples:,} examples, and the budget of {rule.budget:.3%} is "
            "less than one of them; use more data, or raise the budget"
        )
    if rule.budget is not None:
        return (
            f"{cuts.share[1]:.3%} of the examples have the highest score, {highest}, which is more "
            f"than the budget of {rule.budget:.3%}; raise the budget, or find out why the model "
            "does not tell them apart"
        )
    return "every threshold costs more than missing all positives; check the costs"
