"""The serving periods and the traffic of pushed models."""

import datetime as dt
from pathlib import Path

import pytest
from click.testing import CliRunner

from lineage.command.questions import cli
from lineage.impact import impact
from lineage.served import find_served, served
from metadata.reader import MetadataReader

pytestmark = pytest.mark.unit


def found(tfx):
    return {model.version: model for model in served(MetadataReader.sqlite(tfx.path))}


def labels(model):
    return [(p.label, p.until is None) for p in model.periods]


def switch(tfx, kind, **after):
    properties = {f"{label}_after": version for label, version in after.items()}
    tfx.execute(f"{kind}-{after}", kind, type_name=f"serving.{kind}", properties=properties)


def test_what_is_pushed_for_all_replaces_what_was_before(tfx):
    tfx.full_run("a", "1001")
    tfx.full_run("b", "1002")
    models = found(tfx)
    assert list(models) == ["1002", "1001"]
    assert labels(models["1001"]) == [("stable", False)]
    assert labels(models["1002"]) == [("stable", True)]
    [first], [second] = models["1001"].periods, models["1002"].periods
    assert first.until == second.since == models["1002"].pushed.created
    assert models["1002"].labels == ("stable",)


def test_a_canary_is_promoted(tfx):
    tfx.full_run("a", "1001")
    tfx.full_run("b", "1002", release="canary")
    assert labels(found(tfx)["1002"]) == [("canary", True)]
    switch(tfx, "Promotion", stable=1002, previous=1001)
    models = found(tfx)
    assert labels(models["1001"]) == [("stable", False)]
    assert labels(models["1002"]) == [("canary", False), ("stable", True)]


def test_a_canary_is_withdrawn_and_says_why(tfx):
    tfx.full_run("a", "1001")
    tfx.full_run("b", "1002", release="canary")
    tfx.execute(
        "r",
        "Rollback",
        type_name="serving.Rollback",
        properties={"stable_after": 1001, "withdrawn_1002": "worse by 3 %"},
    )
    models = found(tfx)
    assert labels(models["1001"]) == [("stable", True)]
    assert labels(models["1002"]) == [("canary", False)]
    assert (models["1001"].withdrawn, models["1002"].withdrawn) == (None, "worse by 3 %")
    switch(tfx, "Rollback", stable=1002)
    assert found(tfx)["1002"].withdrawn is None


def online(tfx, hour, span_version, *counts):
    """Records the evaluation of an hour, with (version, arm, impressions, clicks) each."""
    outputs = {
        f"metrics{number}": (
            "OnlineMetrics",
            {"hour": hour, "version": v, "arm": a, "impressions": i, "clicks": c, "auc": 0.7},
        )
        for number, (v, a, i, c) in enumerate(counts)
    }
    pushed = {a.custom_properties["pushed_version"].string_value: a.id for a in models(tfx)}
    inputs = {f"pushed{v}": pushed[str(v)] for v, *_ in counts}
    properties = {"span_version": span_version}
    tfx.execute("", "OnlineEvaluation", inputs=inputs, outputs=outputs, properties=properties)


def models(tfx):
    return tfx.store.get_artifacts_by_type("PushedModel")


def test_traffic_is_told_by_hour_and_an_hour_evaluated_again_counts_once(tfx):
    tfx.full_run("a", "1001")
    tfx.full_run("b", "1002", release="canary")
    online(tfx, "2024-03-01T00", 1, (1001, "stable", 90, 9), (1002, "canary", 10, 2))
    online(tfx, "2024-03-01T01", 1, (1001, "stable", 80, 8))
    online(tfx, "2024-03-01T00", 2, (1001, "stable", 95, 9), (1002, "canary", 10, 3))
    shown = found(tfx)
    assert [(h.hour, h.arm, h.counts["impressions"]) for h in shown["1001"].hours] == [
        ("2024-03-01T00", "stable", 95),
        ("2024-03-01T01", "stable", 80),
    ]
    assert [*shown["1001"].counts.items()] == [("impressions", 175), ("clicks", 17)]
    assert [*shown["1002"].counts.items()] == [("impressions", 10), ("clicks", 3)]
    assert shown["1002"].hours[0].metrics == {"auc": 0.7}


def test_counts_have_the_applications_names_and_that_of_all_events_comes_first(tfx):
    first = tfx.full_run("a", "1001")
    hour = {"hour": "2024-03-01T00", "version": 1001, "arm": "stable", "events": "transfers"}
    counts = {"fraud": 7, "transfers": 7, "unlabelled": 2}
    outputs = {"metrics": ("OnlineMetrics", {**hour, **counts, "auc": 0.7})}
    inputs = {"pushed": first["pushed_model"]}
    tfx.execute("", "OnlineEvaluation", inputs=inputs, outputs=outputs)
    assert [*found(tfx)["1001"].counts] == ["transfers", "fraud", "unlabelled"]
    shown = CliRunner().invoke(cli, ["served", "--store", str(tfx.path)], env={"COLUMNS": "200"})
    assert "transfers  fraud  unlabelled" in shown.output
    assert "impressions" not in shown.output


def test_impact_tells_which_versions_answer_and_what_they_ranked(tfx):
    first = tfx.full_run("a", "1001")
    online(tfx, "2024-03-01T00", 1, (1001, "stable", 90, 9))
    [push] = impact(MetadataReader.sqlite(tfx.path), first["examples"]).pushes
    assert (push.version, push.labels) == ("1001", ("stable",))
    assert push.counts == {"impressions": 90, "clicks": 9}
    tfx.full_run("b", "1002")
    [push] = impact(MetadataReader.sqlite(tfx.path), first["examples"]).pushes
    assert push.labels == ()


def test_pipelines_of_one_store_do_not_end_each_others_periods(tfx):
    tfx.full_run("a", "11")
    tfx.full_run("b", "12", destination=Path("/serving-of-another/12"))
    shown = found(tfx)
    assert labels(shown["11"]) == labels(shown["12"]) == [("stable", True)]
    tfx.execute(
        "r",
        "Rollback",
        type_name="serving.Rollback",
        inputs={"before": shown["12"].pushed.id},
        properties={"stable_after": 10, "withdrawn_12": "bad"},
    )
    shown = found(tfx)
    assert labels(shown["11"]) == [("stable", True)]
    assert labels(shown["12"]) == [("stable", False)]


def test_one_is_found_by_its_folder(tfx):
    tfx.full_run("a", "1001")
    tfx.full_run("b", "1002")
    store = MetadataReader.sqlite(tfx.path)
    assert find_served(store, "/serving/1001").version == "1001"
    latest = find_served(store, "latest")
    assert latest.version == "1002"
    assert latest.pushed.created.tzinfo is dt.timezone.utc
