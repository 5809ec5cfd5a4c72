"""Comparisons of two runs or two models."""

import json

import pytest

from lineage.compare import ComparedSide, FileChange, ValueChange, compare, flattened
from metadata.reader import MetadataError, MetadataReader

pytestmark = pytest.mark.unit


def compared(tfx, *ends, **arguments):
    return compare(MetadataReader.sqlite(tfx.path), *ends, **arguments)


def two_runs(tfx):
    """Makes two runs; the second has an hour less, another ETL and a larger batch."""
    first = tfx.push("a", tfx.model("a", tfx.examples("a")), "1001")
    examples = tfx.examples(
        "b",
        counts={"read": 300, "train": 190, "eval": 98, "quarantined": 9, "dropped": 3},
        span=474794,
        parameters={"etl_code_sha256": "d" * 64, "input_fingerprint": "e" * 64},
    )
    made = tfx.model("b", examples, trainer={"custom_config": '{"parameters": {"batch_size": 8}}'})
    return first, tfx.push("b", made, "1002")


def test_two_runs_differ_in_data_code_and_parameters(tfx):
    two_runs(tfx)
    found = compared(tfx)
    assert (found.before, found.after) == (
        ComparedSide("run", "a", "a"),
        ComparedSide("run", "b", "b"),
    )
    assert not found.same
    assert ValueChange("spans", "474792-474793", "474793-474794") in found.data
    assert ValueChange("rows read", 306, 300) in found.data
    assert ValueChange("rows dropped", 3, 3) not in found.data
    assert ValueChange("SparkExampleGen etl_code_sha256", None, "d" * 64) in found.code
    assert found.parameters == (ValueChange("Trainer parameters.batch_size", None, 8),)


def test_two_models_differ_as_the_runs_that_made_them(tfx):
    two_runs(tfx)
    models, runs = compared(tfx, "1001", "1002"), compared(tfx, "a", "b")
    assert (models.before, models.after) == (
        ComparedSide("model", "1001", "a"),
        ComparedSide("model", "1002", "b"),
    )
    assert (models.data, models.parameters) == (runs.data, runs.parameters)


def test_source_files_that_were_added_removed_or_changed(tfx):
    first, second = two_runs(tfx)
    old = json.loads(tfx.manifest(first["examples"]).read_text())
    [source] = old["sources"]
    gone, kept = source["files"]
    files = [{**kept, "checksum": "crc32c:00000000"}, {**gone, "path": "readings/new.gz"}]
    tfx.manifest(second["examples"], sources=[{**source, "files": files}])
    assert compared(tfx).files == (
        FileChange("readings", gone["path"], "removed"),
        FileChange("readings", kept["path"], "changed"),
        FileChange("readings", "readings/new.gz", "added"),
    )


def test_files_are_unknown_without_a_manifest(tfx):
    two_runs(tfx)
    assert compared(tfx).files is None


def test_metrics_come_from_the_summaries_and_all_are_told(tfx, tmp_path):
    two_runs(tfx)
    for run, auc in (("a", 0.7), ("b", 0.7)):
        (tmp_path / run).mkdir()
        text = json.dumps({"metrics": {"auc": auc, "log_loss": 0.2}})
        (tmp_path / run / "run_summary.json").write_text(text)
    assert compared(tfx, summaries=tmp_path).metrics == (
        ValueChange("auc", 0.7, 0.7),
        ValueChange("log_loss", 0.2, 0.2),
    )


def test_thresholds_are_compared_as_metrics_are(tfx):
    for run, threshold in (("a", "0.25"), ("b", "1e-07")):
        tfx.full_run(run, f"100{run}", decision={"threshold": threshold, "budget": "0.005"})
    change = ValueChange("decision_threshold", 0.25, 1e-7)
    assert change in compared(tfx).metrics
    assert change in compared(tfx, "100a", "100b").metrics


def test_a_run_from_the_cache_is_the_same(tfx):
    made = tfx.full_run("a", "1001")
    for component, keys in (("SparkExampleGen", ["examples"]), ("Trainer", ["model"])):
        outputs = {key: made[key] for key in keys}
        tfx.execute("b", component, outputs=outputs, state=tfx.CACHED)
    found = compared(tfx, "b", "b")
    assert found.same


def test_a_component_that_only_one_run_has(tfx):
    tfx.full_run("a", "1001")
    tfx.model("b", tfx.examples("b"))
    assert ValueChange("Pusher", "tfx.components.Pusher", None) in compared(tfx).parameters


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        (("c",), "'c' is neither a run nor a pushed model"),
        (("a", "1002"), "one of the two is a run, the other a model"),
        ((None, "a"), "there is no run before a"),
        ((None, "1001"), "version 1001 is the first"),
        (("run:c",), "no run 'c'"),
    ],
)
def test_sides_that_cannot_be_compared_are_an_error(tfx, ends, message):
    two_runs(tfx)
    with pytest.raises(MetadataError, match=message):
        compared(tfx, *ends)


def test_a_rollout_is_no_run_to_compare_with(tfx):
    two_runs(tfx)
    tfx.execute("20240301-promotion", "Promotion")
    assert compared(tfx).after.name == "b"


def test_flattened_goes_through_json_in_texts_and_lists_of_names():
    sources = json.dumps([{"name": "clicks", "path": "c/*"}, {"name": "views", "path": "v/*"}])
    assert flattened({"sources": sources, "args": '{"a": {"b": [1, 2]}}', "text": "{no json"}) == {
        "sources.clicks.name": "clicks",
        "sources.clicks.path": "c/*",
        "sources.views.name": "views",
        "sources.views.path": "v/*",
        "args.a.b": [1, 2],
        "text": "{no json",
    }
