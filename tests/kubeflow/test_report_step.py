"""The last step of the compiled pipeline makes a page from the others' accounts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from kubeflow import report_step, step
from kubeflow.report_task import ACCOUNT_OF, PAGE, RUN_ID
from kubeflow.step_account import StepAccount
from tests.lineage.browser import opened
from tests.lineage.tfx_files import write_evaluation, write_statistics

pytestmark = pytest.mark.component
HOSTILE = "<img src=x onerror=alert(1)>"
GRAPH = {
    "ImportSchemaGen": {},
    "SparkExampleGen": {},
    "StatisticsGen": {"examples": ["SparkExampleGen", "examples"]},
    "Trainer": {
        "examples": ["SparkExampleGen", "examples"],
        "schema": ["ImportSchemaGen", "schema"],
    },
    "Evaluator": {
        "examples": ["SparkExampleGen", "examples"],
        "model": ["Trainer", "model"],
        "baseline_model": ["Baseline", "model"],  # there was none
    },
    "Baseline": {"candidate": ["Trainer", "model"]},
    "Pusher": {"model": ["Trainer", "model"], "model_blessing": ["Evaluator", "blessing"]},
}
FILES = ("statistics", "evaluation")


def account(
    name: str, began: float, ended: float, run: str = "run-1", **outputs: tuple[str, dict[str, Any]]
) -> StepAccount:
    """Returns an account; `outputs` maps key -> (type, metadata), with Kubeflow's URIs."""
    given = {
        key: {
            "uri": f"minio://bucket/ctr/{run}/{name}/{key}",
            "type": {"schemaTitle": kind},
            "metadata": metadata,
        }
        for key, (kind, metadata) in outputs.items()
    }
    return StepAccount(began, ended, 700, {"said": HOSTILE, "many": 1e20}, given)


def accounts(run: str, began: float) -> dict[str, StepAccount]:
    rows = {"rows_read": 10, "rows_train": 7, "rows_eval": 2, "rows_quarantined": 1}
    outputs: dict[str, tuple[int, int, dict[str, tuple[str, dict[str, Any]]]]] = {
        "ImportSchemaGen": (0, 2, {"schema": ("tfx.Schema", {})}),
        "SparkExampleGen": (1, 31, {"examples": ("tfx.Examples", rows)}),
        "StatisticsGen": (32, 38, {"statistics": ("tfx.ExampleStatistics", {})}),
        "Trainer": (40, 70, {"model": ("tfx.Model", {})}),
        "Baseline": (70, 71, {}),
        "Evaluator": (
            72,
            82,
            {
                "evaluation": ("tfx.ModelEvaluation", {}),
                "blessing": ("tfx.ModelBlessing", {"blessed": 1}),
            },
        ),
        "Pusher": (90, 95, {"pushed_model": ("tfx.PushedModel", {"pushed_version": "7"})}),
    }
    return {
        name: account(name, began + a, began + b, run, **given)
        for name, (a, b, given) in outputs.items()
    }


@pytest.fixture
def steps() -> dict[str, StepAccount]:
    return accounts("run-1", 1_000.0)


@pytest.fixture
def write(
    steps: dict[str, StepAccount], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Runs the step as Kubeflow does, after it has downloaded the artifacts to /minio."""
    monkeypatch.setitem(step.LAUNCHER_FOLDERS, "minio://", f"{tmp_path}/minio/")

    def write(graph: dict[str, Any] = GRAPH, **more: str) -> Path:
        taken = [
            {"name": key, "uri": one["uri"], "metadata": {}}
            for account in steps.values()
            for key, one in account.outputs.items()
            if key in FILES
        ]
        texts = {ACCOUNT_OF + name: one.to_text() for name, one in steps.items()} | more
        page = {"name": PAGE, "uri": "minio://bucket/ctr/run-1/Report/report", "metadata": {}}
        given = {
            "inputs": {
                "parameterValues": {RUN_ID: "run-1", **texts},
                "artifacts": {one["name"]: {"artifacts": [one]} for one in taken},
            },
            "outputs": {"artifacts": {PAGE: {"artifacts": [page]}}},
        }
        arguments = ["--pipeline", "ctr", "--graph", json.dumps(graph)]
        assert report_step.main([*arguments, "--executor_input", json.dumps(given)]) == 0
        path = tmp_path / "minio/bucket/ctr/run-1/Report/report"
        return path.rename(path.with_suffix(".html"))

    return write


@pytest.fixture
def files(steps: dict[str, StepAccount], tmp_path: Path) -> None:
    """Writes the files of artifacts that the report reads."""
    for name, key, fill in (
        ("StatisticsGen", "statistics", write_statistics),
        ("Evaluator", "evaluation", write_evaluation),
    ):
        uri = steps[name].outputs[key]["uri"]
        folder = tmp_path / "minio" / uri.removeprefix("minio://")
        folder.mkdir(parents=True)
        fill(folder, "age")


def boxes(page: Page, section: str = "pipeline") -> dict[str, str]:
    titles = page.locator(f"#{section} a title").all_text_contents()
    return dict(title.split(": ") for title in titles)


def test_a_browser_shows_it_as_kubeflow_does(
    write: Callable[..., Path], files: None, tmp_path: Path
) -> None:
    """Kubeflow shows it in a frame that may only run scripts."""
    text = json.dumps(write().read_text("utf-8")).replace("<", "\\u003c")
    frame = tmp_path / "frame.html"
    frame.write_text(
        "<iframe sandbox='allow-scripts' width=1200 height=800></iframe>"
        f"<script>document.querySelector('iframe').srcdoc = {text}</script>"
    )
    with opened(frame) as (page, complaints):
        inside = page.frame_locator("iframe")
        assert "run run-1" in inside.locator("h1 + p").inner_text()
        assert "10 read = 7 train + 2 eval + 1 quarantined" in inside.locator("#data").inner_text()
        assert "blessed" in inside.locator("#evaluation p").first.inner_text()
        inside.locator("#data .plot .main-svg").first.wait_for()
        inside.locator("#pipeline a", has_text="Trainer").click()
        panel = inside.locator(".panel:target")
        assert "minio://bucket/ctr/run-1/Trainer/model" in panel.inner_text()
        assert HOSTILE in panel.inner_text()
        panel.locator(".close").click()
        assert panel.count() == 0
    assert complaints == []


def test_the_times_are_those_of_the_steps(write: Callable[..., Path], files: None) -> None:
    with opened(write()) as (page, complaints):
        assert boxes(page) == {
            "ImportSchemaGen": "complete, 2.0 s",
            "SparkExampleGen": "complete, 30.0 s",
            "StatisticsGen": "complete, 6.0 s",
            "Trainer": "complete, 30.0 s",
            "Baseline": "complete, 1.0 s",
            "Evaluator": "complete, 10.0 s",
            "Pusher": "complete, 5.0 s",
        }
        assert "1970-01-01 00:16:40 UTC, 95.0 s" in page.locator("h1 + p").inner_text()
        page.locator("#lineage a", has_text="PushedModel").click()
        assert "1970-01-01 00:18:15" in page.locator(".panel:target").inner_text()
        foot = page.locator("footer").inner_text()
    assert complaints == []
    assert foot == "From the accounts of a compiled pipeline's steps."  # no store to be asked again


def test_a_clock_that_is_behind_does_not_change_the_page(
    steps: dict[str, StepAccount], write: Callable[..., Path]
) -> None:
    early = steps["StatisticsGen"]
    steps["StatisticsGen"] = dataclasses.replace(early, began=1_025.0, ended=1_031.0)
    with opened(write()) as (page, _):
        assert boxes(page)["StatisticsGen"] == "complete, 6.0 s"


def test_a_component_may_give_what_it_takes(
    steps: dict[str, StepAccount], write: Callable[..., Path]
) -> None:
    steps["Baseline"].outputs["model"] = steps["Trainer"].outputs["model"]
    with opened(write()) as (page, complaints):
        assert len(boxes(page)) == len(GRAPH)
    assert complaints == []


def test_without_its_files_it_says_what_is_missing(write: Callable[..., Path]) -> None:
    with opened(write()) as (page, complaints):
        text = page.locator("body").inner_text()
    assert complaints == []
    assert "No statistics: StatisticsGen did not run, or its files are gone." in text


def errors(capsys: pytest.CaptureFixture[str]) -> Iterator[str]:
    for line in capsys.readouterr().err.splitlines():
        if line.startswith(step.SAYS):
            yield line.removeprefix(step.SAYS)


def test_an_account_of_another_version_is_left_out(
    write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(write(**{f"{ACCOUNT_OF}Trainer": "{}"})) as (page, complaints):
        assert boxes(page).keys() == GRAPH.keys() - {"Trainer"}
    assert complaints == []
    (line,) = errors(capsys)
    assert line.startswith("Trainer is not in the report: ")


def test_a_page_that_cannot_be_made_says_why_and_the_run_is_no_worse(
    steps: dict[str, StepAccount],
    write: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    steps.clear()
    assert write().read_text() == (
        "<!doctype html><p>No report: no step has an account; compile the pipeline again and run it"
        "</p>\n"
    )
    assert [*errors(capsys)] == [
        "no report: no step has an account; compile the pipeline again and run it"
    ]
