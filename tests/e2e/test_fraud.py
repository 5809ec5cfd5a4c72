"""The fraud pipeline from raw payments to a pushed model, and what late labels stop."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from tests.e2e.project import Project
from tests.e2e.small_data import ONE_PROCESS

pytestmark = [pytest.mark.e2e]

SMALL = (
    ONE_PROCESS,
    "--set=sample_data={payments: 16000, days: 16, seed: 5}",
    "--set=spans.window=16",
    "--set=split.time.at=[-9d, -6d]",
    "--set=etl.parameters.warm_up_days=2",
    "--set=evaluator.min_positives=3",
    "--set=evaluator.thresholds={auc: {min: 0.6}, auc_pr: {min: 0.05},"
    " calibration: {min: 0.1, max: 10}, decision_share: {max: 0.1}}",
    # Compiling code for each query takes Spark longer than these few rows.
    "--set=spark.conf={spark.sql.codegen.wholeStage: 'false',"
    " spark.sql.codegen.factoryMode: NO_CODEGEN,"
    " spark.driver.defaultJavaOptions: '-XX:TieredStopAtLevel=1'}",
)


@pytest.fixture(scope="module")
def summary(project: Project) -> dict[str, Any]:
    return project.run("fraud", *SMALL)


def test_a_blessed_model_is_pushed_and_every_row_is_accounted_for(
    summary: dict[str, Any], project: Project
) -> None:
    assert summary["state"] == "complete"
    assert summary["blessed"]
    assert (Path(summary["pushed_model"]) / "saved_model.pb").is_file()
    rows = summary["rows"]
    assert rows["read"] == sum(rows.values()) - rows["read"]
    lines = sum(
        len(gzip.decompress(path.read_bytes()).splitlines())
        for path in (project.folder / "data/fraud/payments").rglob("*.json.gz")
    )
    assert rows["read"] == lines
    assert rows["dropped"] > rows["read"] / 16  # the warm-up


def test_the_model_finds_rare_frauds(summary: dict[str, Any]) -> None:
    found = summary["metrics"]
    share = found["positives"] / summary["rows"]["test"]
    assert 0.0005 < share < 0.01
    assert found["auc_pr"] > 20 * share
    assert found["auc_pr_of_best_reachable"] == found["auc_pr"] / found["best_reachable_auc_pr"]
    assert found["recall_at_0.005"] > 0.1
    assert 0 < found["decision_share"] < 0.1
    assert found["decision_cost"] < 120 * share  # cheaper than no review


def test_the_served_model_decides_beside_its_score(summary: dict[str, Any]) -> None:
    said = json.loads((Path(summary["pushed_model"]) / "assets.extra/decision.json").read_text())
    assert said["budget"] == 0.005
    model = tf.saved_model.load(summary["pushed_model"])
    outputs = model.signatures["serving_default"].structured_outputs
    assert outputs.keys() == {"probability", "decision"}


def test_a_lost_day_of_chargebacks_stops_the_run(
    summary: dict[str, Any], project: Project, tmp_path: Path
) -> None:
    """Its frauds would otherwise count as genuine payments. An empty file is no lost one."""
    days = sorted((project.folder / "data/fraud/chargebacks").iterdir())
    assert any(not gzip.decompress((day / "part-00000.json.gz").read_bytes()) for day in days)
    lost = days[20]
    kept = tmp_path / lost.name
    shutil.move(lost, kept)
    try:
        stopped = project.run("fraud", *SMALL, code=1)
    finally:
        shutil.move(kept, lost)
    assert "chargebacks" in stopped["output"]
    assert lost.name in stopped["output"]
    assert "missing" in stopped["output"]


def test_the_labels_of_a_run_have_a_time(summary: dict[str, Any], project: Project) -> None:
    """It is 45 days after the last payment, however many chargebacks there are by now."""
    shown = project.command("-m", "lineage", "trace", "latest")
    assert "2024-05-01" in shown.stdout  # 16 days from 2024-03-01, and 45 more
    manifest = json.loads((project.folder / "data/fraud/_manifest.json").read_text())
    assert manifest["config"]["days"] == 16
