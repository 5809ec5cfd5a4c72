"""Two spans, one after the other: the second model begins with the first."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from tests.e2e.losses import validation_losses

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

OPTIONS = (
    "--set=sample_data={impressions: 24000, hours: 13, seed: 5, items: 120}",
    "--set=spans.window=6",
    "--set=split={feature: session_id, buckets: {train: 3, eval: 1}}",
    "--set=evaluator.thresholds.auc={min: 0.5, max_worse: 0.5}",
    "--set=evaluator.thresholds.calibration={min: 0.3, max: 3}",
    "--set=evaluator.min_positives=50",  # six hours have some hundred clicks to judge by
    "--set=trainer.warm_start=true",
)


@pytest.fixture(scope="module")
def first_hour(project) -> int:
    """The number of the log's first span, with the log made."""
    project.command(
        *("-m", "applications.ctr.sample_data", "--out", "data/ctr", "--impressions", "24000"),
        *("--hours", "13", "--seed", "5", "--items", "120"),
    )
    day = min((project.folder / "data/ctr/impressions").iterdir())
    moment = dt.datetime.fromisoformat(f"{day.name}T{min(day.iterdir()).name}:00+00:00")
    return int(moment.timestamp()) // 3600


@pytest.fixture(scope="module")
def runs(project, first_hour: int) -> list[dict[str, Any]]:
    """Hours 1 to 6, then hours 7 to 12, those once more, and those from nothing."""
    first, second = (f"--span={first_hour + hour}" for hour in (5, 11))
    warm = [project.run("ctr", *OPTIONS, span) for span in (first, second, second)]
    return [*warm, project.run("ctr", *OPTIONS, second, "--set=trainer.warm_start=false")]


def test_the_second_span_begins_with_the_model_of_the_first(project, runs) -> None:
    assert all(run["blessed"] for run in runs)
    earlier = project.folder / "runs/ctr/artifacts/Trainer/model"
    began = [f"started from {earlier}" in _log(project, run) for run in runs]
    assert began == [False, True, False, False]  # the third is cached


def test_it_is_better_after_its_first_round_than_a_cold_start(project, runs) -> None:
    folders = (project.folder / "runs/ctr/artifacts/Trainer/model_run").iterdir()
    in_order = sorted(folders, key=lambda folder: int(folder.name))
    _, warm, cold = (validation_losses(folder / "validation") for folder in in_order)
    assert warm[0] < cold[0]


def test_a_repeated_run_executes_nothing_again(runs) -> None:
    states = {c["id"]: c["state"] for c in runs[2]["components"]}
    assert states["Trainer"] == "cached"
    assert states["Pusher"] == "cached"


def _log(project, run: dict[str, Any]) -> str:
    folder = project.folder / "runs/ctr/runs" / run["run_id"]
    return "\n".join(path.read_text("utf-8") for path in folder.glob("*.log"))
