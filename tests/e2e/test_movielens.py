"""The same application on MovieLens 100k: real data, another config."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.e2e]


def test_movielens_runs_and_learns(project) -> None:
    summary = project.run("movielens")
    assert summary["state"] == "complete"
    assert summary["rows"]["read"] == 100_000
    assert summary["blessed"]
    assert summary["metrics"]["auc"] > 0.72
