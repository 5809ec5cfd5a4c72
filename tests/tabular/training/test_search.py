"""The search by keras-tuner: its space, its best trial, and trials that fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tabular.errors import TrainingError
from tabular.training.search import Search, hyperparameters
from tabular.training.search_space import corners

pytestmark = pytest.mark.unit

SPACE = {
    "rate": {"min": 0.001, "max": 0.1, "log": True},
    "layers": {"min": 1, "max": 3, "log": False},
    "model": ["a", "b"],
}


def test_the_space() -> None:
    space = {p.name: p for p in hyperparameters(SPACE).space}
    assert space["rate"].sampling == "log"
    assert type(space["layers"].default) is int
    assert space["model"].values == ["a", "b"]
    ends = corners(SPACE)
    assert len(ends) == 6
    assert {"model": "b"} in ends
    assert {"rate": 0.1} in ends


def test_the_best_trial_is_found_among_failed_ones(tmp_path: Path) -> None:
    tried: list[dict[str, Any]] = []

    def train(values: dict[str, Any], trial: str) -> float:
        tried.append(values)
        if len(tried) == 2:
            raise TrainingError("the validation loss is nan")
        return abs(values["rate"] - 0.01) + (values["model"] == "a") + values["layers"]

    search = Search(SPACE, 12, 5, train, str(tmp_path))
    search.search()
    assert len(tried) == 12
    assert all(0.001 <= t["rate"] <= 0.1 and t["layers"] in (1, 2, 3) for t in tried)
    best = search.get_best_hyperparameters()[0].values
    whole = [t for n, t in enumerate(tried) if n != 1]
    loss = {str(t): abs(t["rate"] - 0.01) + (t["model"] == "a") + t["layers"] for t in whole}
    assert loss[str(best)] == min(loss.values())


def test_an_error_of_the_program_ends_the_search(tmp_path: Path) -> None:
    def train(values: dict[str, Any], trial: str) -> float:
        raise KeyError("no such feature")

    with pytest.raises(RuntimeError, match="no such feature"):
        Search(SPACE, 12, 5, train, str(tmp_path)).search()
