"""Traces from served models back to source files, and from data to what was made from it."""

import io
import json

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd
from rich.console import Console

from lineage.command.render_trace import trace_tree
from lineage.impact import impact, impact_of
from lineage.served import find_served
from lineage.trace import trace
from metadata.reader import MetadataError, MetadataReader

pytestmark = pytest.mark.unit


def traced(tfx, pushed="latest", **arguments):
    return trace(MetadataReader.sqlite(tfx.path), pushed, **arguments)


def test_a_trace_names_everything_between_the_served_model_and_the_files(tfx):
    made = tfx.full_run("r", "1001")
    tfx.manifest(made["examples"])
    found = traced(tfx)
    assert (found.version, found.destination) == ("1001", "/serving/1001")
    ids = {
        "pushed_model": found.pushed.id,
        "model": found.model.id,
        "transform_graph": found.transform_graph.id,
        "schema": found.schema.id,
        "evaluation": found.evaluation.id,
        "blessing": found.blessing.artifact.id,
    }
    assert ids == {key: made[key] for key in ids}
    assert found.blessing.blessed
    [dataset] = found.datasets
    assert (dataset.examples.id, dataset.run_id) == (made["examples"], "r")
    assert (dataset.span, dataset.spans) == (474793, "474792-474793")
    assert dataset.etl == "applications.ctr.etl.build_examples"
    assert dataset.etl_code_sha256 == "c" * 64
    assert [s.id for s in dataset.statistics] == [made["statistics"]]
    assert dataset.quarantine.type == "QuarantinedRecords"
    assert dataset.quarantined_reasons == {"readings": {"too_hot": 9, "unparseable": 3}}
    [source] = dataset.sources
    assert (source.name, source.rows_read, source.bytes) == ("readings", 306, 1200)
    assert [file.path for file in source.files] == [
        "readings/2024-03-01/00/a.json.gz",
        "readings/2024-03-01/01/a.json.gz",
    ]


def test_a_decision_belongs_to_its_model(tfx):
    tfx.full_run("q", "1000")
    assert traced(tfx).decision is None
    made = tfx.full_run("r", "1001", decision={"threshold": "0.25", "budget": "0.005"})
    found = traced(tfx).decision
    assert (found.id, found.properties["threshold"]) == (made["decision"], "0.25")


def test_trees_on_the_same_examples_are_shown_beside_the_model(tfx):
    made = tfx.full_run("r", "1001")
    assert traced(tfx).trees is None
    for value in (0.7, 0.75):  # the newest counts
        _, trees = tfx.execute(
            "r",
            "TreeBaseline",
            inputs={"examples": made["examples"], "schema": made["schema"]},
            outputs={"comparison": ("TreeComparison", {"metric_auc": value, "rows": 193})},
        )
    found = traced(tfx)
    assert found.trees.id == trees["comparison"]
    serving = find_served(MetadataReader.sqlite(tfx.path), f"artifact:{found.pushed.id}")
    screen = Console(width=200, record=True, file=io.StringIO())
    screen.print(trace_tree(found, serving))
    assert f"trees  auc 0.75  (TreeComparison {found.trees.id})" in screen.export_text()


def test_every_row_is_accounted_for(tfx):
    made = tfx.full_run("r", "1001")
    tfx.manifest(made["examples"])
    accounts = traced(tfx).datasets[0].accounts
    assert accounts.read == sum(accounts.splits.values()) + accounts.quarantined + accounts.dropped
    assert accounts.splits == {"train": 193, "eval": 98}
    assert accounts.adds_up
    assert accounts.differs == ()


def test_counts_that_do_not_add_up_are_told(tfx):
    counts = {"read": 306, "train": 193, "eval": 90, "quarantined": 12, "dropped": 3}
    tfx.push("r", tfx.model("r", tfx.examples("r", counts=counts)), "1001")
    accounts = traced(tfx).datasets[0].accounts
    assert not accounts.adds_up
    assert accounts.exact


def test_an_etl_that_aggregates_need_not_add_up(tfx):
    counts = {"read": 306, "train": 9, "eval": 3, "quarantined": 0, "dropped": 0}
    examples = tfx.examples("r", counts=counts, parameters={"row_accounting": "off"})
    tfx.push("r", tfx.model("r", examples), "1001")
    accounts = traced(tfx).datasets[0].accounts
    assert (accounts.adds_up, accounts.exact) == (False, False)


def test_any_names_of_splits_are_counted(tfx):
    counts = {"read": 10, "train": 5, "test": 3, "holdout": 2}
    tfx.push("r", tfx.model("r", tfx.examples("r", counts=counts)), "1001")
    accounts = traced(tfx).datasets[0].accounts
    assert accounts.splits == {"train": 5, "holdout": 2, "test": 3}
    assert accounts.adds_up


def test_a_manifest_that_disagrees_with_the_store_is_told(tfx):
    made = tfx.full_run("r", "1001")
    rows = {"read": 306, "quarantined": 13, "dropped": 3, "splits": {"train": 193, "eval": 98}}
    files = {"train": [{"rows": 100}, {"rows": 92}], "eval": [{"rows": 98}]}
    tfx.manifest(made["examples"], rows=rows, splits=files, input_fingerprint="e" * 64)
    assert traced(tfx).datasets[0].accounts.differs == (
        "quarantined: 12 in the store, 13 in the manifest",
        "train: 193 in the store, 192 in its files",
        "input_fingerprint: another one in the manifest",
    )


def test_without_the_manifest_counts_and_declared_sources_remain(tfx):
    tfx.full_run("r", "1001")
    [dataset] = traced(tfx).datasets
    assert dataset.manifest_problem == "gone from disk"
    assert dataset.accounts.adds_up
    assert dataset.input_base == "/data"
    [source] = dataset.sources
    assert (source.name, source.files, source.rows_read) == ("readings", (), None)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "is not valid JSON"),
        ("[]", "is not a manifest"),
        ('{"rows": 7}', "has another form than SparkExampleGen writes"),
        ('{"sources": [{"name": "x"}]}', "has another form than SparkExampleGen writes"),
    ],
)
def test_a_damaged_manifest_is_named_and_the_trace_goes_on(tfx, content, problem):
    made = tfx.full_run("r", "1001")
    tfx.manifest(made["examples"]).write_text(content)
    [dataset] = traced(tfx).datasets
    assert dataset.manifest_problem == problem
    assert dataset.accounts.adds_up
    assert [source.name for source in dataset.sources] == ["readings"]


def test_examples_of_another_example_gen_have_no_accounts(tfx):
    _, made = tfx.execute(
        "r", "CsvExampleGen", outputs={"examples": ("Examples", {"uri": "gs://bucket/examples"})}
    )
    tfx.push("r", tfx.model("r", made["examples"]), "1001")
    [dataset] = traced(tfx).datasets
    assert dataset.accounts is None
    assert not dataset.is_ours
    assert (dataset.manifest, dataset.manifest_problem) == (
        "",
        "not recorded: only SparkExampleGen writes one",
    )


def test_a_pushed_model_is_found_by_id_version_folder_and_latest(tfx):
    first, second = tfx.full_run("first", "1001"), tfx.full_run("second", "1002")
    assert traced(tfx).pushed.id == second["pushed_model"]
    for name in (first["pushed_model"], str(first["pushed_model"]), "1001", "/serving/1001"):
        assert traced(tfx, name).pushed.id == first["pushed_model"]
    with pytest.raises(MetadataError, match=r"no pushed model '7777' .* are 1002 \(artifact"):
        traced(tfx, "7777")


def test_what_was_not_blessed_was_not_pushed(tfx):
    tfx.full_run("first", "1001")
    tfx.execute("second", "Pusher", outputs={"pushed_model": ("PushedModel", {"pushed": 0})})
    assert traced(tfx).version == "1001"


def test_no_pushed_model_is_an_error_with_the_next_step(tfx):
    tfx.examples("r")
    with pytest.raises(MetadataError, match=r"no pushed model: none was blessed yet.*show latest"):
        traced(tfx)


def test_metrics_come_from_the_summary_of_the_run_that_evaluated(tfx, tmp_path):
    made = tfx.full_run("first", "1001")
    tfx.execute(
        "second",
        "Pusher",
        outputs={"pushed_model": made["pushed_model"]},
        state=mlmd.Execution.CACHED,
    )
    summary = tmp_path / "runs" / "first" / "run_summary.json"
    summary.parent.mkdir(parents=True)
    summary.write_text(json.dumps({"metrics": {"auc": 0.71, "note": "text"}}))
    found = traced(tfx, summaries=tmp_path / "runs")
    assert (found.metrics, found.metrics_from) == ({"auc": 0.71}, str(summary))
    summary.write_text("[")
    assert traced(tfx, summaries=tmp_path / "runs").metrics == {}
    assert traced(tfx).metrics == {}


def test_a_trace_names_the_baseline_but_does_not_follow_it(tfx):
    first = tfx.full_run("first", "1001")
    tfx.full_run("second", "1002", baseline=first["model"])
    found = traced(tfx)
    assert found.blessing.baseline_model_id == first["model"]
    assert [dataset.run_id for dataset in found.datasets] == ["second"]


def test_a_model_pushed_without_evaluation_has_no_blessing(tfx):
    made = tfx.model("r", tfx.examples("r"))
    tfx.execute(
        "r",
        "Pusher",
        inputs={"model": made["model"]},
        outputs={"pushed_model": ("PushedModel", {"pushed": 1, "pushed_destination": "/s/7"})},
    )
    found = traced(tfx)
    assert (found.version, found.blessing, found.evaluation) == ("7", None, None)
    assert found.model.id == made["model"]


def test_impact_finds_models_evaluations_pushes_and_every_run(tfx):
    made = tfx.full_run("first", "1001")
    again = tfx.push("second", tfx.model("second", made["examples"]), "1002", made["model"])
    tfx.execute(
        "third",
        "SparkExampleGen",
        outputs={"examples": made["examples"]},
        state=mlmd.Execution.CACHED,
    )
    tfx.full_run("other", "1003", baseline=made["model"])
    found = impact(MetadataReader.sqlite(tfx.path), made["examples"])
    assert [m.artifact.id for m in found.models] == [again["model"], made["model"]]
    assert [(p.version, p.run_id) for p in found.pushes] == [("1002", "second"), ("1001", "first")]
    assert all(push.trained_from_it for push in found.pushes)
    assert [e.model_id for e in found.evaluations] == [again["model"], made["model"]]
    assert found.runs == ("third", "second", "first")


def test_a_model_that_was_only_evaluated_on_the_data_was_not_trained_from_it(tfx):
    trained = tfx.model("r", tfx.examples("r"))
    evaluated_on = tfx.examples("r", span=474799)
    tfx.push("r", {**trained, "examples": evaluated_on}, "1001")
    found = impact(MetadataReader.sqlite(tfx.path), evaluated_on)
    assert found.models == ()
    assert [p.trained_from_it for p in found.pushes] == [False]
    assert [e.trained_from_it for e in found.evaluations] == [False]
    spans = [dataset.span for dataset in traced(tfx).datasets]
    assert sorted(spans) == [474793, 474799]


def test_the_latest_examples_are_an_example_gens_not_transforms(tfx):
    made = tfx.full_run("r", "1001")
    store = MetadataReader.sqlite(tfx.path)
    assert impact_of(store, "latest").artifact.id == made["examples"]
    assert impact_of(store, f"artifact:{made['model']}").artifact.id == made["model"]
    with pytest.raises(MetadataError, match="'x' is no artifact id"):
        impact_of(store, "x")


def test_a_bad_source_file_leads_to_all_that_was_made_from_it(tfx):
    """A file is found by its name or any end of its path, but not by a part of a name."""
    first, second, third = (tfx.full_run(run, f"100{run}") for run in ("1", "2", "3"))
    for made in (first, second):
        tfx.manifest(made["examples"])
    tfx.manifest(third["examples"], sources=[])
    store = MetadataReader.sqlite(tfx.path)
    asked = [second["examples"], first["examples"]]
    for wanted in ("a.json.gz", "./00/a.json.gz", "/data/readings/2024-03-01/00/a.json.gz", "00/"):
        assert [a.id for a in impact_of(store, wanted).artifacts] == asked
    found = impact_of(store, "01/a.json.gz")
    assert found.unknown == ()
    assert [push.version for push in found.pushes] == ["1002", "1001"]
    assert [a.id for a in found.artifacts] == [second["examples"], first["examples"]]
    with pytest.raises(MetadataError, match=r"no source file of the 3 Examples"):
        impact_of(store, "json.gz")


def test_examples_without_a_manifest_may_have_read_the_file_too(tfx):
    first, second = (tfx.full_run(run, f"100{run}") for run in ("1", "2"))
    tfx.manifest(first["examples"])
    store = MetadataReader.sqlite(tfx.path)
    assert impact_of(store, "a.json.gz").unknown == (second["examples"],)
    with pytest.raises(MetadataError, match=r"of the 1 Examples .* \(1 more have lost their man"):
        impact_of(store, "other.json.gz")


def test_a_warm_start_is_named(tfx):
    first = tfx.full_run("1", "1001")
    made = tfx.model("2", tfx.examples("2"), base=first["model"])
    tfx.push("2", made, "1002")
    found = traced(tfx)
    assert found.base_model is not None
    assert found.base_model.id == first["model"]
    assert traced(tfx, "1001").base_model is None


def test_a_pushed_model_has_many_names(tfx):
    first = tfx.full_run("r1", "1001")["pushed_model"]
    tfx.full_run("r2", "1002")
    names = ("1001", "model:1001", "r1", "run:r1", f"artifact:{first}", "/serving/1001/")
    assert {traced(tfx, name).pushed.id for name in names} == {first}


def test_a_version_in_two_folders_is_asked_for(tfx):
    ids = [
        tfx.push(run, tfx.model(run, tfx.examples(run)), "7", destination=f"/{run}/7")[
            "pushed_model"
        ]
        for run in ("a", "b")
    ]
    with pytest.raises(MetadataError, match=r"version 7 was pushed to 2 folders; say: artifact:"):
        traced(tfx, "7")
    assert [traced(tfx, name).pushed.id for name in ("/a/7", "b")] == ids
    assert [traced(tfx, f"artifact:{number}").pushed.id for number in ids] == ids


def test_an_artifacts_number_may_be_a_version_of_two_folders(tfx):
    made = tfx.full_run("r", "1001")["pushed_model"]
    for run in ("a", "b"):
        examples = tfx.model(run, tfx.examples(run))
        tfx.push(run, examples, str(made), destination=f"/{run}/{made}")
    assert traced(tfx, made).version == traced(tfx, f"artifact:{made}").version == "1001"


def test_what_kubeflow_compares_with_was_not_made_from_the_candidate(tfx):
    """On Kubeflow, Baseline reads the candidate and outputs the served model or an absent one."""
    made = tfx.full_run("r", "1001")
    for properties in ({}, {"absent": 1}):
        tfx.execute(
            "r",
            "Baseline",
            inputs={"candidate": made["model"]},
            outputs={"model": ("Model", properties)},
        )
    found = impact(MetadataReader.sqlite(tfx.path), made["examples"])
    assert [one.artifact.id for one in found.models] == [made["model"]]
