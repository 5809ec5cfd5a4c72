"""From a table of one's own to scores: new, schema, check, try, score, as a user starts them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import tensorflow as tf
from sklearn.metrics import roc_auc_score

from tests.applications.commands import tables
from tests.e2e.project import Project

pytestmark = pytest.mark.e2e

ROWS = 3000


@pytest.fixture(scope="module")
def tried(project: Project) -> Iterator[Project]:
    """The project with an application for a table of machines, and a trial of it in `trial`."""
    (project.folder / "data").mkdir()
    tables.machines(project.folder / "data" / "machines.csv", ROWS)
    new = project.command(
        *("-m", "applications", "new", "machines"),
        *("--from", "data/machines.csv", "--label", "State"),
    )
    assert "label 1 is 'fails'" in new.stdout
    assert "'repair' alone tells the label" in new.stdout
    project.command("-m", "applications", "schema", "machines")
    project.command("-m", "applications", "check", "machines")
    done = project.command(
        *("-m", "applications", "try", "machines", "--rows", "2000", "--folder", "trial"),
        "--set=trainer.decision.budget=0.1",
    )
    assert "metrics of a sample" in done.stdout
    yield project


def summary(project: Project) -> dict:
    (written,) = (project.folder / "trial/runs/machines/runs").glob("*/run_summary.json")
    return json.loads(written.read_text())


def test_a_trial_accounts_for_every_row_and_pushes_to_its_own_folder_only(tried):
    found = summary(tried)
    rows = found["rows"]
    assert rows["read"] == ROWS
    assert sum(rows.values()) == 2 * ROWS
    assert 800 < rows["dropped"] < 1200  # not in the sample
    assert found["pushed_model"].startswith(str(tried.folder / "trial"))
    assert not (tried.folder / "serving_models").exists()
    assert not (tried.folder / "runs").exists()


def test_trees_are_reported_beside_the_network(tried):
    found = summary(tried)
    trees = found["trees"]
    assert (trees["split"], trees["rows"]) == ("test", found["rows"]["train"])
    assert trees["judged_rows"] == found["rows"]["test"]
    assert {"auc", "log_loss"} <= {*trees["metrics"]} & {*found["metrics"]}
    low, high = trees["intervals"]["auc"]
    assert 0.6 < low < trees["metrics"]["auc"] < high < 1
    assert [one["id"] for one in found["components"]][-1] == "TreeBaseline"
    (report,) = (tried.folder / "trial/runs/machines/runs").glob("*/report.html")
    page = report.read_text("utf-8")
    assert f'<td class="n">{trees["metrics"]["auc"]:.4f}</td>' in page
    assert "judged on" in page


def test_the_summary_says_which_parameters_follow_from_the_rows(tried):
    found = summary(tried)
    assert found["training"]["rows"] == found["rows"]["train"]
    assert found["training"]["by_rows"]["batch_size"] == 256


@pytest.fixture(scope="module")
def scores(tried: Project) -> Path:
    """Scores of the whole table without its label, and of some rows that cannot be read."""
    with (tried.folder / "data" / "machines.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["State"]
    rows[3]["age in days"] = "old"  # not of the declared type
    rows[5]["Machine No"] = ""
    tables.write_csv(tried.folder / "data" / "unlabelled.csv", rows)
    (version,) = (tried.folder / "trial/serving_models/machines").glob("[0-9]*")
    done = tried.command(
        *("-m", "applications", "score", "machines", "--input", "data/unlabelled.csv"),
        *("--output", "scores", "--model", str(version)),
    )
    assert "no column 'State'" in done.stdout
    assert "2,998 scored, 2 quarantined, 0 dropped" in done.stdout
    return tried.folder / "scores"


def test_every_row_is_scored_or_quarantined(scores):
    table = pd.read_parquet(scores)
    expected = {f"M-{number:05d}" for number in range(ROWS)} - {"M-00003", "M-00005"}
    assert set(table["Machine_No"]) == expected
    assert len(table) == ROWS - 2
    manifest = json.loads((scores / "_manifest.json").read_text())
    reasons = {"unparseable": 1, "missing_Machine_No": 1}
    assert manifest["quarantined"] == {"machines": reasons}
    truth = pd.read_csv(scores.parent / "data" / "machines.csv").set_index("Machine No")["State"]
    known = truth[truth.isin(["fails", "runs"])]
    both = table.set_index("Machine_No").join(known, how="inner")
    assert roc_auc_score(both["State"] == "fails", both["probability"]) > 0.7
    reviewed, left = (table.loc[table["decision"] == one, "probability"] for one in (1, 0))
    assert 0.05 < len(reviewed) / len(table) < 0.2
    assert reviewed.min() > left.max()


def test_a_score_is_that_of_the_served_graph_for_the_training_example(tried, scores):
    (examples,) = (
        tried.folder / "trial/runs/machines/artifacts/SparkExampleGen/examples"
    ).iterdir()
    records = [
        record
        for file in sorted(examples.glob("Split-test/*.gz"))
        for record in tf.data.TFRecordDataset(str(file), "GZIP").as_numpy_iterator()
    ]
    (version,) = (tried.folder / "trial/serving_models/machines").glob("[0-9]*")
    served = tf.saved_model.load(str(version)).signatures["serving_default"]
    wanted = served(examples=tf.constant(records))["probability"].numpy()[:, 0]
    names = [
        tf.train.Example.FromString(one).features.feature["Machine_No"].bytes_list.value[0].decode()
        for one in records
    ]
    found = pd.read_parquet(scores).set_index("Machine_No")["probability"]
    for name, score in zip(names, wanted, strict=True):
        if name in found.index:
            assert found[name] == pytest.approx(score, abs=1e-5)


def test_scores_are_never_overwritten(tried, scores):
    done = tried.command(
        *("-m", "applications", "score", "machines", "--input", "data/machines.csv"),
        *("--output", "scores"),
        code=1,
    )
    assert "expected a new folder" in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_a_pushed_model_the_next_step_is_named(tried):
    done = tried.command(
        *("-m", "applications", "score", "machines", "--input", "data/machines.csv"),
        *("--output", "other"),
        code=1,
    )
    assert "run the pipeline first" in done.stderr


def test_too_many_bad_rows_publish_nothing(tried):
    (version,) = (tried.folder / "trial/serving_models/machines").glob("[0-9]*")
    with (tried.folder / "data" / "machines.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:60]
    for row in rows[:30]:
        row["heat (°C)"] = "very hot"
    tables.write_csv(tried.folder / "data" / "bad.csv", rows)
    done = tried.command(
        *("-m", "applications", "score", "machines", "--input", "data/bad.csv"),
        *("--output", "bad", "--model", str(version)),
        code=1,
    )
    assert "30 of 60 rows (50.0%)" in done.stderr
    assert "no_number_in_heat_C 30" in done.stderr
    assert not (tried.folder / "bad").exists()


def test_nothing_is_overwritten_by_new(tried):
    done = tried.command(
        *("-m", "applications", "new", "machines"),
        *("--from", "data/machines.csv", "--label", "State"),
        code=1,
    )
    assert "is not overwritten" in done.stderr
