"""The last step of the compiled pipeline: from what the others told to a page."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser import opened
from tfx_files import write_evaluation, write_statistics

from kubeflow import report_step
from kubeflow.told import Told

pytestmark = pytest.mark.component
BUCKET = "s3://bucket/ctr/run-1"
HOSTILE = "<img src=x onerror=alert(1)>"


def step(
    began: float, ended: float, inputs: tuple[str, ...] = (), **outputs: tuple[str, dict[str, Any]]
) -> Told:
    """`outputs`: key -> (type, metadata); inputs and outputs lie in the bucket, by their key."""
    given = {
        key: {"uri": f"{BUCKET}/{key}", "type": {"schemaTitle": kind}, "metadata": metadata}
        for key, (kind, metadata) in outputs.items()
    }
    taken = {key: f"{BUCKET}/{key}" for key in inputs}
    return Told(began, ended, 700, {"said": HOSTILE}, taken, given)


@pytest.fixture
def steps() -> dict[str, Told]:
    rows = {"rows_read": 10, "rows_train": 7, "rows_eval": 2, "rows_quarantined": 1}
    return {
        "Pusher": step(90, 95, ("model", "blessing"), pushed_model=("tfx.PushedModel", {})),
        "Evaluator": step(
            70,
            80,
            ("examples", "model"),
            evaluation=("tfx.ModelEvaluation", {}),
            blessing=("tfx.ModelBlessing", {"blessed": 1}),
        ),
        "Trainer": step(40, 70, ("examples",), model=("tfx.Model", {})),
        "StatisticsGen": step(32, 38, ("examples",), statistics=("tfx.ExampleStatistics", {})),
        "SparkExampleGen": step(0, 30, (), examples=("tfx.Examples", rows)),
    }


@pytest.fixture
def write(steps: dict[str, Told], tmp_path: Path) -> Callable[[], Path]:
    """What Kubeflow would say, with the artifacts where its launcher puts them."""

    def write() -> Path:
        found = {}
        for key in ("statistics", "evaluation"):
            folder = tmp_path / "here" / key
            folder.mkdir(parents=True)
            found[f"{BUCKET}/{key}"] = str(folder)
        write_statistics(Path(found[f"{BUCKET}/statistics"]), "age")
        write_evaluation(Path(found[f"{BUCKET}/evaluation"]), "age")
        path = tmp_path / "out" / "report"
        report_step.write_page("ctr", "run-1", steps, found, path)
        return path

    return write


def test_a_browser_shows_it_as_kubeflow_does(write: Callable[[], Path], tmp_path: Path) -> None:
    """Kubeflow's page puts it into a frame that may run scripts and do nothing else."""
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
        inside.locator("#features .plot .main-svg, #data .plot .main-svg").first.wait_for()
        inside.locator("#pipeline a", has_text="Trainer").click()
        panel = inside.locator(".panel:target")
        assert f"{BUCKET}/model" in panel.inner_text()
        assert HOSTILE in panel.inner_text()
        panel.locator(".close").click()
        assert panel.count() == 0
    assert complaints == []


def boxes(path: Path) -> dict[str, str]:
    with opened(path.rename(path.with_suffix(".html"))) as (page, complaints):
        texts = page.locator("#pipeline a title").all_text_contents()
        foot = page.locator("footer").inner_text()
    assert complaints == []
    assert foot == "From Kubeflow Pipelines."  # there is no store to be asked again
    return dict(text.split(": ") for text in texts)


def test_the_times_are_those_of_the_steps(write: Callable[[], Path]) -> None:
    assert boxes(write()) == {
        "SparkExampleGen": "complete, 30.0 s",
        "StatisticsGen": "complete, 6.0 s",
        "Trainer": "complete, 30.0 s",
        "Evaluator": "complete, 10.0 s",
        "Pusher": "complete, 5.0 s",
    }


def test_what_kubeflow_answered_from_its_cache_is_cached(
    steps: dict[str, Told], write: Callable[[], Path]
) -> None:
    """An hour after: the ETL ran again, what it gave was known, and only the push was new."""
    began = {"SparkExampleGen": 3600, "Pusher": 3640}
    for name, second in began.items():
        steps[name] = dataclasses.replace(steps[name], began=second, ended=second + 9)
    assert boxes(write()) == {
        "SparkExampleGen": "complete, 9.0 s",
        "StatisticsGen": "cached, 0.0 s",
        "Trainer": "cached, 0.0 s",
        "Evaluator": "cached, 0.0 s",
        "Pusher": "complete, 9.0 s",
    }


def said(capsys: pytest.CaptureFixture[str], told: str, uri: Path) -> str:
    page = {"artifacts": [{"name": "report", "uri": str(uri), "metadata": {}}]}
    given = {
        "inputs": {"parameterValues": {"run_id": "run-1", "Trainer": told}},
        "outputs": {"artifacts": {"report": page}},
    }
    assert report_step.main(["--pipeline", "ctr", "--executor_input", json.dumps(given)]) == 1
    return capsys.readouterr().err.splitlines()[-1]


def test_steps_of_another_version_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = said(capsys, '{"began": 0}', tmp_path / "report")
    assert line == "kubeflow.step: a step's image is of another version than this one's"


def test_a_place_that_cannot_be_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    line = said(capsys, step(0, 1).to_json(), tmp_path / "file" / "report")
    assert line.startswith("kubeflow.step: no report: FileExistsError: ")
