"""The CTR pipeline from raw logs to a pushed model, as a user starts it."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from sklearn import metrics
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2
from tfx import components
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration import metadata
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import bulk_inferrer_pb2
from tfx.types import standard_artifacts

from tests.applications.ctr.feature_sums import feature_sums
from tests.e2e.project import Project, copy_of_the_data, copy_of_the_project
from tests.e2e.small_data import ONE_PROCESS, SMALL
from tests.product import ROOT

pytestmark = [pytest.mark.e2e]

COMPONENTS = {
    "SparkExampleGen",
    "StatisticsGen",
    "ImportSchemaGen",
    "ExampleValidator",
    "AnomalyGate",
    "Transform",
    "Trainer",
    "Baseline",
    "Evaluator",
    "ModelCanary",
    "Pusher",
}


def states(summary: dict[str, Any]) -> dict[str, str]:
    return {component["id"]: component["state"] for component in summary["components"]}


@pytest.fixture(scope="module")
def project(after_a_run) -> Project:
    """The project of a run that other tests read too: tests that change it use a copy."""
    made, _ = after_a_run
    return made


@pytest.fixture(scope="module")
def first(after_a_run) -> dict[str, Any]:
    _, summary = after_a_run
    return summary


def artifact_folder(project, component: str, key: str) -> Path:
    folders = (project.folder / "runs/ctr/artifacts" / component / key).iterdir()
    return max(folders, key=lambda folder: int(folder.name))


@pytest.mark.smoke
def test_every_component_completes_and_a_blessed_model_is_pushed(first) -> None:
    assert states(first) == dict.fromkeys(COMPONENTS, "complete")
    assert first["blessed"]
    assert first["canary"] == {"blessed": True, "reason": None}
    assert "a server answers as trained" in first["output"]
    assert (Path(first["pushed_model"]) / "saved_model.pb").is_file()


@pytest.mark.smoke
def test_beam_downloads_no_runner(first, project) -> None:
    """As its DirectRunner would: a binary, without a checksum."""
    log = (project.folder / "runs/ctr/runs" / first["run_id"] / "run.log").read_text("utf-8")
    assert "apache_beam.runners" in log
    assert "Prism" not in log


GOLDEN = ROOT / "tests/applications/ctr/golden/small_run.json"


def test_rows_features_and_auc_are_what_they_were(first, project) -> None:
    """Golden values of the code before the application contract, of 2026-11-30."""
    golden = json.loads(GOLDEN.read_text("utf-8"))
    assert first["rows"] == golden["rows"]
    assert first["metrics"]["auc"] == pytest.approx(golden["auc"], abs=0.01)
    for kind, folder in (
        ("examples", artifact_folder(project, "SparkExampleGen", "examples")),
        ("transformed", artifact_folder(project, "Transform", "transformed_examples")),
    ):
        found = feature_sums(folder)
        assert found.keys() == golden[kind].keys()
        for name, expected in golden[kind].items():
            assert found[name]["values"] == expected["values"], name
            # Beam adds float32 up in any order, and TFT's quantiles depend on the order of rows.
            rough = name == "dense_xf" or name.endswith("_bucket_xf")
            tolerance = 2e-3 if rough else 1e-6
            assert found[name]["sum"] == pytest.approx(expected["sum"], rel=tolerance), name


@pytest.mark.smoke
def test_every_row_is_accounted_for(first, project) -> None:
    rows = first["rows"]
    assert rows.keys() == {"read", "train", "eval", "test", "quarantined", "dropped"}
    assert rows["read"] == sum(rows.values()) - rows["read"]
    assert rows["quarantined"] > 0
    assert rows["dropped"] > 0
    lines = 0
    for path in (project.folder / "data/ctr/impressions").rglob("*.json.gz"):
        lines += len(gzip.decompress(path.read_bytes()).splitlines())
    assert rows["read"] == lines


@pytest.mark.smoke
def test_the_summary_knows_the_best_reachable_auc(first) -> None:
    found = first["metrics"]
    assert 0.55 < found["auc"] < found["best_reachable_auc"] < 1
    assert found["auc_of_best_reachable"] == found["auc"] / found["best_reachable_auc"]
    assert found["log_loss"] > found["best_reachable_log_loss"]


@pytest.mark.smoke
def test_every_metric_has_an_interval(first) -> None:
    decided = [f"decision_{name}" for name in ("precision", "recall", "share", "cost")]
    for name in ("auc", "auc_pr", "log_loss", "calibration", "ece", *decided):
        low, high = first["intervals"][name]
        assert low < first["metrics"][name] < high
    assert f"auc {first['metrics']['auc']:.4f}  (95 %: " in first["output"]
    assert first["not_blessed_because"] == first["telling_features"] == []


@pytest.mark.smoke
def test_the_pushed_model_predicts_what_the_evaluator_saw(first, project) -> None:
    """Loaded as TF Serving loads it, on the raw tf.Examples of the split that judges."""
    folder = artifact_folder(project, "SparkExampleGen", "examples") / "Split-test"
    files = sorted(str(path) for path in folder.iterdir())
    records = tf.data.TFRecordDataset(files, compression_type="GZIP")
    examples = np.array(list(records.as_numpy_iterator()), dtype=object)
    labels = [
        tf.train.Example.FromString(e).features.feature["clicked"].int64_list.value[0]
        for e in examples
    ]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], first["pushed_model"])
        signature = loaded.signature_def["serving_default"]
        outputs = [signature.outputs[name].name for name in ("probability", "decision")]
        feed = signature.inputs["examples"].name
        answers = session.run(outputs, {feed: examples})
    predictions, reviewed = (answer[:, 0] for answer in answers)
    decision = json.loads((Path(first["pushed_model"]) / "assets.extra/decision.json").read_text())
    np.testing.assert_array_equal(reviewed, predictions >= np.float32(decision["threshold"]))
    assert first["metrics"]["decision_share"] == pytest.approx(reviewed.mean())
    assert first["metrics"]["decision_recall"] == pytest.approx(
        metrics.recall_score(labels, reviewed)
    )
    assert metrics.log_loss(labels, predictions) == pytest.approx(
        first["metrics"]["log_loss"], rel=1e-4
    )
    assert metrics.roc_auc_score(labels, predictions) == pytest.approx(
        first["metrics"]["auc"], abs=1e-5
    )
    calibration = predictions.mean() / np.mean(labels)
    assert calibration == pytest.approx(first["metrics"]["calibration"], rel=1e-4)


@pytest.mark.smoke
def test_the_threshold_meets_the_budget_and_is_an_artifact(first, project) -> None:
    made, model = (artifact_folder(project, "Trainer", key) for key in ("decision", "model"))
    decision = json.loads((made / "decision.json").read_text())
    beside = model / "Format-Serving/assets.extra/decision.json"
    assert json.loads(beside.read_text()) == decision
    assert decision["rows"] == first["rows"]["eval"]
    assert 0.045 < decision["share"] <= decision["budget"] == 0.05
    trace = json.loads(project.command("-m", "lineage", "trace", "latest", "--json").stdout)
    properties = trace["decision"]["properties"]
    assert float(properties["threshold"]) == decision["threshold"]  # ML Metadata rounds numbers
    assert float(properties["budget"]) == 0.05


@pytest.mark.smoke
def test_raw_feature_tensors_give_the_same_predictions(first, project) -> None:
    folder = artifact_folder(project, "SparkExampleGen", "examples") / "Split-eval"
    files = sorted(str(path) for path in folder.iterdir())
    records = list(tf.data.TFRecordDataset(files, compression_type="GZIP").take(50))
    model = tf.saved_model.load(first["pushed_model"])
    tensors = {}
    _, wanted = model.signatures["raw_features"].structured_input_signature
    for name, spec in wanted.items():
        is_list = spec.shape.rank == 2
        feature = (
            tf.io.VarLenFeature(spec.dtype) if is_list else tf.io.FixedLenFeature([], spec.dtype)
        )
        column = tf.io.parse_example(tf.stack(records), {name: feature})[name]
        tensors[name] = tf.sparse.to_dense(column) if is_list else column
    by_tensor = model.signatures["raw_features"](**tensors)["probability"]
    by_example = model.signatures["serving_default"](examples=tf.stack(records))["probability"]
    np.testing.assert_allclose(by_tensor, by_example, rtol=1e-6)


@pytest.mark.smoke
def test_bulk_inferrer_loads_the_model(first, project, tmp_path) -> None:
    """TFX's own batch inference, on the examples of the eval split."""
    examples = Importer(
        source_uri=str(artifact_folder(project, "SparkExampleGen", "examples")),
        artifact_type=standard_artifacts.Examples,
        properties={"split_names": '["train", "eval"]'},
    ).with_id("examples")
    model = Importer(
        source_uri=str(artifact_folder(project, "Trainer", "model")),
        artifact_type=standard_artifacts.Model,
    ).with_id("model")
    inferrer = components.BulkInferrer(
        examples=examples.outputs["result"],
        model=model.outputs["result"],
        data_spec=bulk_inferrer_pb2.DataSpec(example_splits=["eval"]),
    )
    root = tmp_path / "root"
    LocalDagRunner().run(
        Pipeline(
            pipeline_name="bulk",
            pipeline_root=str(root),
            components=[examples, model, inferrer],
            metadata_connection_config=metadata.sqlite_metadata_connection_config(
                str(tmp_path / "mlmd")
            ),
        )
    )
    files = [str(path) for path in root.rglob("*.gz")]
    assert sum(1 for _ in tf.data.TFRecordDataset(files, "GZIP")) == first["rows"]["eval"]


@pytest.mark.smoke
def test_lineage_ends_at_source_files_with_counts_that_add_up(first, project) -> None:
    done = project.command("-m", "lineage", "trace", "latest", "--json")
    trace = json.loads(done.stdout)
    (dataset,) = trace["datasets"]
    assert dataset["accounts"]["adds_up"]
    assert dataset["accounts"]["read"] == first["rows"]["read"]
    base = project.folder / "data/ctr"
    files = {f["path"] for source in dataset["sources"] for f in source["files"]}
    on_disk = {p.relative_to(base).as_posix() for p in base.rglob("*.json.gz")}
    assert {"users.parquet", "items.csv"} <= files
    assert {f for f in files if f.startswith("impressions/")} == {
        f for f in on_disk if f.startswith("impressions/")
    }
    text = project.command("-m", "lineage", "trace", "latest").stdout
    assert "adds up" in text
    assert "review from a score of" in text


@pytest.mark.smoke
def test_the_canary_asked_a_server_and_its_requests_warm_up_the_version(first, project) -> None:
    folder = artifact_folder(project, "ModelCanary", "blessing")
    report = json.loads((folder / "report.json").read_text())
    assert report["blessed"]
    assert report["requests"] == 20
    assert report["max_difference"] < 1e-5
    assert (folder / "INFRA_BLESSED").exists()
    warm_up = Path(first["pushed_model"]) / "assets.extra/tf_serving_warmup_requests"
    logs = tf.data.TFRecordDataset(str(warm_up)).as_numpy_iterator()
    logs = [prediction_log_pb2.PredictionLog.FromString(log) for log in logs]
    requests = [getattr(log, log.WhichOneof("log_type")).request for log in logs]
    named = [request.model_spec.signature_name for request in requests]
    # The last ones are for signatures that no user's request has gone to yet.
    assert named[10:] == ["classify", "raw_features", "regress", "transform_features"]


@pytest.mark.smoke
def test_what_is_served_is_what_was_trained_and_a_broken_feature_is_named(first, project) -> None:
    config = ("--config", "applications/ctr/configs/ctr.yaml", "--set=serving.request_log.rate=1.0")
    with project.served(*config) as server:
        shown = project.command("-m", "serving", "predict", *config, "--server", server).stdout
        assert f"ctr version {Path(first['pushed_model']).name}, arm stable" in shown
        assert shown.count("│") > 20
        assert "decision" in shown
        load = ("--rate", "20", "--seconds", "3", "--candidates", "20")
        bench = project.command("-m", "serving", "bench", *config, "--server", server, *load)
        assert "0 rejected or late" in bench.stdout
    listed = project.command("-m", "serving", "versions", *config).stdout
    assert f"{first['metrics']['auc']:.4f}" in listed
    assert "stable" in listed
    found = project.command("-m", "serving", "skew", *config).stdout
    assert "no skew" in found
    # A served model whose vocabulary is not the one it was trained with.
    assets = Path(first["pushed_model"]) / "assets"
    vocabulary = assets / "category"
    before = vocabulary.read_text()
    first_token, second_token, *others = before.splitlines(keepends=True)
    vocabulary.write_text("".join([second_token, first_token, *others]))
    try:
        found = project.command("-m", "serving", "skew", *config, code=1).stdout
    finally:
        vocabulary.write_text(before)
    assert "category_xf" in found
    assert "device_xf" not in found


def test_files_for_tensorflow_serving(first, project, tmp_path) -> None:
    config = ("--config", "applications/ctr/configs/ctr.yaml")
    project.command("-m", "serving", "export-config", *config, "--out", str(tmp_path / "here"))
    script = (tmp_path / "here/tensorflow-serving.sh").read_text()
    assert f"{project.folder}/serving_models/ctr/models.config" in script
    inside = ("--base-path", "/models/ctr")
    project.command("-m", "serving", "export-config", *config, "--out", str(tmp_path), *inside)
    models = text_format.Parse(
        (tmp_path / "models.config").read_text(), model_server_config_pb2.ModelServerConfig()
    )
    (model,) = models.model_config_list.config
    assert model.base_path == "/models/ctr"
    assert dict(model.version_labels) == {"stable": int(Path(first["pushed_model"]).name)}
    batching = (tmp_path / "batching.config").read_text()
    assert "max_batch_size { value: 1024 }" in batching
    assert "prometheus_config" in (tmp_path / "monitoring.config").read_text()
    command = tmp_path / "tensorflow-serving.sh"
    assert '--model_config_file="$here/models.config"' in command.read_text()
    assert subprocess.run(["sh", "-n", str(command)], check=False).returncode == 0


def test_a_second_run_executes_nothing_again(first, project) -> None:
    again = states(project.run("ctr", *SMALL, ONE_PROCESS))
    assert again.pop("Baseline") == "complete"  # a resolver only looks up
    assert set(again.values()) == {"cached"}


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> tuple[Project, dict[str, Any]]:
    """A project that no other file's tests read, and the summary of its run."""
    made = copy_of_the_project(tmp_path_factory.mktemp("own"))
    return made, made.run("ctr", *SMALL)


@pytest.mark.slow
def test_an_edited_etl_runs_again_from_spark_on_with_the_other_runner(own) -> None:
    project, _ = own
    with (project.folder / "applications/ctr/etl.py").open("a") as file:
        file.write("\n# edited\n")
    again = project.run("ctr", *SMALL, "--runner=local")
    assert again["state"] == "complete"
    found = states(again)
    assert found["ImportSchemaGen"] == "cached"
    ran = {"SparkExampleGen", "StatisticsGen", "Transform", "Trainer", "Evaluator"}
    assert {found[name] for name in ran} == {"complete"}
    impact = json.loads(project.command("-m", "lineage", "impact", "latest", "--json").stdout)
    assert len(impact["models"]) == 1
    diff = json.loads(project.command("-m", "lineage", "diff", "--json").stdout)
    assert [c["name"] for c in diff["code"]] == ["SparkExampleGen etl_code_sha256"]
    assert (diff["files"], diff["parameters"]) == ([], [])


@pytest.mark.slow
def test_what_is_unused_goes_and_lineage_stays(own) -> None:
    project, first = own
    version = Path(first["pushed_model"]).name
    before = project.command("-m", "lineage", "trace", version, "--json").stdout
    gc = ("-m", "lineage", "gc", "--keep-runs", "1", "--delete", "--yes")
    assert "deleted " in project.command(*gc).stdout
    assert "nothing is unused" in project.command(*gc).stdout
    after = project.command("-m", "lineage", "trace", version, "--json").stdout
    assert '"state": "deleted"' in after  # what the ETL refused, say
    assert after.replace('"state": "deleted"', '"state": "live"') == before


@pytest.fixture(scope="module")
def toaster(first, after_a_run, tmp_path_factory) -> Project:
    """A project with what was pushed before, and a row whose device the schema does not know."""
    ran, _ = after_a_run
    project = copy_of_the_project(tmp_path_factory.mktemp("toaster"))
    copy_of_the_data(ran, project.folder)
    source = sorted((project.folder / "data/ctr/impressions").rglob("*.gz"))[-1]
    line = json.loads(gzip.decompress(source.read_bytes()).splitlines()[0])
    line |= {"impression_id": "odd", "device": "toaster"}
    with gzip.open(source.with_name("part-99999.json.gz"), "wt") as file:
        file.write(json.dumps(line) + "\n")
    return project


def test_anomalies_stop_the_run_and_name_feature_and_reason(toaster) -> None:
    pushed = sorted((toaster.folder / "serving_models/ctr").iterdir())
    assert pushed
    failed = toaster.run("ctr", *SMALL, "--set=sample_data=null", code=1)
    assert failed["state"] == "failed"
    assert states(failed)["AnomalyGate"] == "failed"
    assert "Transform" not in states(failed)
    assert "AnomalyGate: the data does not fit the schema: device" in failed["output"]
    assert "toaster" in failed["output"]
    assert sorted((toaster.folder / "serving_models/ctr").iterdir()) == pushed


@pytest.mark.slow
def test_an_edited_schema_is_seen(toaster) -> None:
    """Once the schema has the new value, the run passes the gate."""
    schema = toaster.folder / "schemas/ctr.pbtxt"
    schema.write_text(
        schema.read_text().replace('value: "tablet"', 'value: "tablet"\n  value: "toaster"')
    )
    # Stopped on purpose behind the gate: that is all this test is about.
    stop = "--set=trainer.parameters.learning_rate=1.0e+30"
    failed = toaster.run("ctr", *SMALL, "--set=sample_data=null", stop, code=1)
    assert states(failed)["ImportSchemaGen"] == states(failed)["AnomalyGate"] == "complete"
    assert "Trainer: the validation loss is nan" in failed["output"]


def test_a_missing_span_is_one_line_and_leaves_nothing_running(toaster) -> None:
    failed = toaster.run("ctr", *SMALL, "--set=sample_data=null", "--span=7", code=1)
    assert "Error: SparkExampleGen: source 'impressions': missing span" in failed["output"]
    assert "Traceback" not in failed["output"]
    assert states(failed)["SparkExampleGen"] == "failed"
