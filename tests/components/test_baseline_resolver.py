"""The baseline is the latest blessed model that is not the candidate."""

from __future__ import annotations

import pytest
from tfx.types import standard_artifacts

from components.baseline_resolver.strategy import BaselineModelStrategy

pytestmark = pytest.mark.unit


def model(number: int) -> standard_artifacts.Model:
    artifact = standard_artifacts.Model()
    artifact.id = number
    return artifact


def blessing(number: int, of: int, blessed: int = 1) -> standard_artifacts.ModelBlessing:
    artifact = standard_artifacts.ModelBlessing()
    artifact.id = number
    artifact.set_int_custom_property("current_model_id", of)
    artifact.set_int_custom_property("blessed", blessed)
    return artifact


def baseline(candidate: int, models: list[int], blessings: list) -> tuple[list[int], list[int]]:
    result = BaselineModelStrategy().resolve_artifacts(
        None,  # type: ignore[arg-type] # it asks the store nothing
        {
            "candidate": [model(candidate)],
            "model": [model(n) for n in models],
            "model_blessing": blessings,
        },
    )
    return [a.id for a in result["model"]], [a.id for a in result["model_blessing"]]


def test_the_first_model_has_no_baseline() -> None:
    assert baseline(1, [1], []) == ([], [])


def test_a_repeated_run_is_not_compared_with_itself() -> None:
    assert baseline(1, [1], [blessing(9, of=1)]) == ([], [])


def test_the_newest_blessed_model_counts() -> None:
    blessings = [blessing(7, of=1), blessing(8, of=2), blessing(9, of=3, blessed=0)]
    assert baseline(4, [1, 2, 3, 4], blessings) == ([2], [8])


def test_an_older_candidate_meets_the_newer_model() -> None:
    assert baseline(1, [1, 2], [blessing(7, of=1), blessing(8, of=2)]) == ([2], [8])
