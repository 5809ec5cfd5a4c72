"""The chosen threshold is the best of all, and reviews in 32 bits what it was chosen for."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tabular.decision import LEAST_SHARE, POINTS, Decision, choose
from tabular.decision_rule import Costs, DecisionRule
from tabular.metrics.scores import ScoreCounts

pytestmark = pytest.mark.unit

# Neighbours of 32 bits among them, between which there is no further number.
NEIGHBOURS = [float(np.nextafter(np.float32(0.3), np.float32(k))) for k in (0, 1)]
SCORES = [0.0, 1e-30, 0.1, *NEIGHBOURS, float(np.float32(0.3)), 0.5, 1 - 2**-24, 1.0]
ROWS = st.lists(
    st.tuples(
        st.sampled_from(SCORES) | st.floats(0, 1, width=32, allow_subnormal=False),
        st.booleans(),
        st.integers(0, 5),
    ),
    min_size=1,
    max_size=30,
)


def columns(rows: list[tuple[float, bool, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of 32 bits, labels and weights, of which one is above 0."""
    scores, labels, weights = (np.array(column) for column in zip(*rows, strict=True))
    assume(weights.sum() > 0)
    return scores.astype(np.float32), labels, weights


def counted(labels: list[int], scores: Sequence[float | np.float32]) -> ScoreCounts:
    return ScoreCounts.count(np.array(labels), np.array(scores, np.float32))


def reviewed(decision: Decision, scores: np.ndarray) -> np.ndarray:
    """The rows that the served graph reviews, which compares numbers of 32 bits."""
    return np.asarray(scores >= np.float32(decision.threshold))


def every_cut(scores: np.ndarray) -> list[np.ndarray]:
    """The rows that each threshold reviews, from none to all."""
    return [np.zeros(len(scores), bool), *(scores >= one for one in np.unique(scores)[::-1])]


@settings(max_examples=150, database=None, deadline=None)
@given(rows=ROWS, budget=st.sampled_from([0.01, 0.1, 0.25, 0.5, 0.75, 0.99]))
def test_no_threshold_reviews_more_within_the_budget(
    rows: list[tuple[float, bool, int]], budget: float
) -> None:
    scores, labels, weights = columns(rows)
    decision = choose(DecisionRule(budget=budget), ScoreCounts.count(labels, scores, weights))
    shares = [weights[cut].sum() / weights.sum() for cut in every_cut(scores)]
    best = max(share for share in shares if share <= budget + 1e-12)
    chosen = reviewed(decision, scores)
    assert weights[chosen].sum() / weights.sum() == pytest.approx(best)
    assert decision.chosen.share == pytest.approx(best)
    assert np.float32(decision.threshold) == decision.threshold


@settings(max_examples=150, database=None, deadline=None)
@given(rows=ROWS, review=st.integers(1, 5), missed=st.integers(6, 40))
def test_no_threshold_costs_less(
    rows: list[tuple[float, bool, int]], review: int, missed: int
) -> None:
    scores, labels, weights = columns(rows)
    costs = Costs(review=review, missed=missed)
    decision = choose(DecisionRule(costs=costs), ScoreCounts.count(labels, scores, weights))

    def cost(cut: np.ndarray) -> float:
        return float(review * weights[cut].sum() + missed * weights[labels & ~cut].sum()) / float(
            weights.sum()
        )

    chosen = reviewed(decision, scores)
    assert cost(chosen) == pytest.approx(min(map(cost, every_cut(scores))))
    assert decision.chosen.cost == pytest.approx(cost(chosen))


@settings(max_examples=150, database=None, deadline=None)
@given(rows=ROWS, threshold=st.floats(0.01, 0.99))
def test_the_numbers_are_those_of_the_reviewed_rows(
    rows: list[tuple[float, bool, int]], threshold: float
) -> None:
    scores, labels, weights = columns(rows)
    rule = DecisionRule(threshold=threshold, costs=Costs(review=1, missed=7))
    decision = choose(rule, ScoreCounts.count(labels, scores, weights))
    for cut in (decision.chosen, *decision.curve):
        chosen = scores >= np.float32(cut.threshold)
        hits, positives = weights[chosen & labels].sum(), weights[labels].sum()
        assert cut.share == pytest.approx(weights[chosen].sum() / weights.sum())
        assert (
            math.isnan(cut.recall)
            if not positives
            else cut.recall == pytest.approx(hits / positives)
        )
        if weights[chosen].sum():
            assert cut.precision == pytest.approx(hits / weights[chosen].sum())
        else:
            assert math.isnan(cut.precision)
        expected = weights[chosen].sum() + 7 * (positives - hits)
        assert cut.cost == pytest.approx(expected / weights.sum())
    assert decision.rows == (weights > 0).sum()
    assert decision.positives == (labels & (weights > 0)).sum()
    json.loads(json.dumps(decision.to_json(), allow_nan=False))


def test_a_threshold_lies_halfway_between_two_scores() -> None:
    decision = choose(DecisionRule(budget=0.5), counted([1, 0, 0, 0], [0.75, 0.5, 0.25, 0.0]))
    assert decision.threshold == 0.375
    assert not decision.warnings


def test_a_threshold_between_neighbours_is_the_higher_of_them() -> None:
    low, high = np.float32(0.3), np.nextafter(np.float32(0.3), np.float32(1))
    decision = choose(DecisionRule(budget=0.5), counted([1, 0], [high, low]))
    assert np.float32(decision.threshold) == high


def test_a_share_that_equals_the_budget_fits() -> None:
    """0.1 + 0.1 + 0.1 is more than 0.3, and one of 200 is 0.005."""
    scores, labels = np.arange(10, dtype=np.float32) / 16, np.arange(10) % 2
    counts = ScoreCounts.count(labels, scores, np.full(10, 0.1))
    assert choose(DecisionRule(budget=0.3), counts).chosen.share == pytest.approx(0.3)
    many = ScoreCounts.count(np.arange(200) % 2, np.arange(200, dtype=np.float32) / 256)
    assert choose(DecisionRule(budget=0.005), many).chosen.share == 0.005


@pytest.mark.parametrize("score", [0.0, 0.3, 1.0])
def test_a_constant_model_reviews_nothing_and_says_so(score: float) -> None:
    decision = choose(DecisionRule(budget=0.1), counted([0, 1, 0, 1], [score] * 4))
    assert decision.chosen.share == 0
    assert decision.threshold > np.float32(score)
    (warning,) = decision.warnings
    assert warning.startswith("nothing is reviewed: 100.000% of the examples have the highest")
    assert "more than the budget of 10.000%" in warning


def test_ties_that_leave_most_of_the_budget_are_reported() -> None:
    decision = choose(DecisionRule(budget=0.4), counted([1, *[0] * 9], [0.9, *[0.5] * 8, 0.1]))
    assert decision.chosen.share == pytest.approx(0.1)
    (warning,) = decision.warnings
    assert "only 10.000% of the examples are reviewed, less than half of the budget" in warning
    assert "80.000% of them have the same score, 0.5" in warning


@pytest.mark.parametrize(("label", "recall"), [(0, None), (1, 0.5)])
def test_one_class_has_a_threshold_and_a_warning(label: int, recall: float | None) -> None:
    decision = choose(DecisionRule(budget=0.5), counted([label] * 4, [0.1, 0.2, 0.3, 0.4]))
    found = decision.to_json()
    assert (found["share"], found["recall"]) == (0.5, recall)
    assert decision.warnings[0].startswith(f"all 4 examples have the label {label}")


def test_costs_may_review_nothing_or_everything() -> None:
    rare = counted([0] * 9 + [1], [0.5] * 10)
    nothing = choose(DecisionRule(costs=Costs(review=3, missed=10)), rare)
    assert nothing.chosen.share == 0
    assert nothing.warnings[0].startswith("nothing is reviewed: every threshold costs more")
    everything = choose(DecisionRule(costs=Costs(review=1, missed=100)), rare)
    assert (everything.threshold, everything.chosen.share) == (0.0, 1)
    assert everything.warnings == ("everything is reviewed, so the model decides nothing",)


def test_a_given_threshold_above_every_score_is_reported() -> None:
    decision = choose(DecisionRule(threshold=0.9), counted([0, 1], [0.1, 0.2]))
    assert decision.threshold == np.float32(0.9)
    assert decision.warnings == (
        "nothing is reviewed: the highest score is 0.2, below the threshold of 0.9",
    )


def test_the_curve_is_logarithmic_and_short() -> None:
    chance = np.random.default_rng(1)
    scores = chance.random(50_000).astype(np.float32)
    labels = chance.random(50_000) < scores
    decision = choose(DecisionRule(budget=0.01), ScoreCounts.count(labels, scores))
    shares = [cut.share for cut in decision.curve]
    assert len(shares) <= POINTS
    assert shares[0] == pytest.approx(LEAST_SHARE)
    assert shares[-1] == 1
    steps = np.diff(np.log(shares))
    assert (steps > 0).all()
    assert steps.max() < 0.25  # five rows of 50,000 are the first step
    few = choose(DecisionRule(budget=0.5), counted([0, 1, 1], [0.1, 0.2, 0.3]))
    assert [cut.share for cut in few.curve] == pytest.approx([1 / 3, 2 / 3, 1])


def test_no_examples_have_no_threshold() -> None:
    with pytest.raises(ValueError, match="no examples to choose a threshold on"):
        choose(DecisionRule(budget=0.1), ScoreCounts.count(np.empty(0), np.empty(0)))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, "expected a budget, a threshold or costs"),
        ({"budget": 0.1, "threshold": 0.5}, "budget and threshold exclude each other"),
        ({"budget": 0}, "greater than 0"),
        ({"budget": 1}, "less than 1"),
        ({"threshold": 1.5}, "less than 1"),
        ({"budget": float("nan")}, "less than 1"),
        ({"budget": 0.1, "costs": {"review": 0, "missed": 5}}, "greater than 0"),
        ({"budget": 0.1, "costs": {"review": 1}}, "missed"),
        ({"costs": {"review": 120, "missed": 3}}, "a review must cost less than a missed positive"),
        ({"budgets": 0.1}, "Did you mean budget?"),
    ],
)
def test_a_rule_that_cannot_be_used_is_an_error(given: dict[str, object], wanted: str) -> None:
    with pytest.raises(ValidationError) as error:
        DecisionRule.model_validate(given)
    assert wanted in str(error.value)


def test_scores_that_tensorflow_takes_for_zero_are_equal() -> None:
    """A threshold among them would review everything in the served graph."""
    counts = ScoreCounts.count(np.array([0, 1, 0, 1]), np.array([0.0, 0.0, 1e-40, 1e-40]))
    found = choose(DecisionRule(budget=0.5), counts)
    assert found.chosen.share == 0
    assert found.threshold > float(np.finfo(np.float32).tiny)


def test_a_budget_of_less_than_one_example_is_told() -> None:
    scores = np.linspace(0.1, 0.9, 150)
    counts = ScoreCounts.count((scores > 0.8).astype(int), scores)
    (said,) = choose(DecisionRule(budget=0.005), counts).warnings
    assert "split eval has 150 examples, and the budget of 0.500% is less than one of them" in said
