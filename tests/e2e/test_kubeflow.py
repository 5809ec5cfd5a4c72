"""What is compiled for Kubeflow gives, step by step, what the pipeline gives on a laptop."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from small_data import SMALL

pytestmark = pytest.mark.e2e

SUMMARY = """
import json, sys
from lineage.store import LineageStore
from local_run.summary import summarize
from pipeline.config import load_config
store = LineageStore.sqlite(sys.argv[1])
config = load_config("pipeline/configs/ctr.yaml")
print(json.dumps(summarize(config, store, store.run("latest").run_id, {})))
"""


@pytest.fixture(scope="module")
def local(project) -> dict[str, Any]:
    """The run of local_runner.py; what it pushed is served when the compiled one begins."""
    return project.run("ctr", *SMALL)


@pytest.fixture(scope="module")
def compiled(project, local) -> Path:
    config = "pipeline/configs/ctr.yaml"
    project.command("-m", "kubeflow.compile", "--config", config, "--output", "ctr.yaml", *SMALL)
    return project.folder / "ctr.yaml"


def run(project, *arguments: str, code: int = 0) -> str:
    roots = {"data_root": "data/ctr", "serving_root": "serving_models"}
    given = [f"--param={name}={project.folder / path}" for name, path in roots.items()]
    command = ("-m", "kubeflow.run_local", "ctr.yaml", *given, *arguments)
    done = project.command(*command, code=code)
    return str(done.stdout + done.stderr)


def summary_of(project, folder: str) -> dict[str, Any]:
    done = project.command("-c", SUMMARY, str(project.folder / folder / "metadata.sqlite"))
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def stepwise(project, compiled) -> dict[str, Any]:
    said = run(project)
    return {**summary_of(project, "runs/ctr-kubeflow"), "said": said}


def test_every_step_is_done(local, stepwise) -> None:
    states = {one["id"]: one["state"] for one in stepwise["components"]}
    assert states == dict.fromkeys((one["id"] for one in local["components"]), "complete")
    assert stepwise["said"].count(" done ") == len(states)


def test_rows_splits_and_metrics_are_those_of_the_local_run(local, stepwise) -> None:
    assert stepwise["rows"] == local["rows"]
    assert stepwise["span"] == local["span"]
    for name in ("auc", "log_loss", "calibration"):
        assert stepwise["metrics"][name] == pytest.approx(local["metrics"][name], rel=0.02)
    assert stepwise["blessed"]
    assert stepwise["canary"] == {"blessed": True, "reason": None}


def test_the_candidate_is_compared_with_what_was_served(project, local, stepwise) -> None:
    (baseline,) = (project.folder / "runs/ctr-kubeflow").glob("*/Baseline-*/model")
    served = Path(local["pushed_model"])
    exported = baseline / "Format-Serving/saved_model.pb"
    assert exported.read_bytes() == (served / "saved_model.pb").read_bytes()
    (validation,) = (project.folder / "runs/ctr-kubeflow").glob("*/Evaluator-*/blessing/BLESSED")
    assert validation.exists()


def test_lineage_goes_back_to_the_files(project, stepwise) -> None:
    store = str(project.folder / "runs/ctr-kubeflow/metadata.sqlite")
    said = project.command("-m", "lineage", "trace", "latest", "--store", store).stdout
    for text in ("served from", "Model ", "ETL  pipeline.ctr.etl.build_examples", "adds up"):
        assert text in said
    assert stepwise["pushed_model"] in said


def test_a_step_that_fails_is_one_line_and_what_waits_for_it_is_not_run(project, compiled) -> None:
    said = run(project, "--param=data_root=/nowhere", "--folder=runs/failed", code=1)
    lines = [line for line in said.splitlines() if line.startswith(("Spark", "Import", "Stat"))]
    assert [line.split()[:2] for line in lines] == [
        ["ImportSchemaGen", "done"],
        ["SparkExampleGen", "FAILED"],
    ]
    assert "/nowhere" in said
    assert "Traceback" not in said
    states = {one["id"]: one["state"] for one in summary_of(project, "runs/failed")["components"]}
    assert states == {"ImportSchemaGen": "complete", "SparkExampleGen": "failed"}
    shutil.rmtree(project.folder / "runs/failed")
