"""OpenLineage events: their content, their schema and their destinations."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attr
import pytest
from click.testing import CliRunner
from ml_metadata.proto import metadata_store_pb2 as mlmd
from openlineage.client import event_v2
from openlineage.client.facet_v2 import (
    data_quality_metrics_dataset,
    dataset_version_dataset,
    error_message_run,
    execution_parameters_run,
    input_statistics_input_dataset,
    job_type_job,
    output_statistics_output_dataset,
    parent_run,
    schema_dataset,
)

from lineage.command import export  # noqa: F401 - it joins the group
from lineage.command.questions import cli
from lineage.open_lineage import dataset_name, output_name
from tests.lineage.tfx_files import write_statistics

pytestmark = pytest.mark.unit

# The generated classes are the schema, as OpenLineage's own client has it.
FACETS: dict[str, Any] = {
    "parent": parent_run.ParentRunFacet,
    "errorMessage": error_message_run.ErrorMessageRunFacet,
    "executionParameters": execution_parameters_run.ExecutionParametersRunFacet,
    "jobType": job_type_job.JobTypeJobFacet,
    "version": dataset_version_dataset.DatasetVersionDatasetFacet,
    "schema": schema_dataset.SchemaDatasetFacet,
    "dataQualityMetrics": data_quality_metrics_dataset.DataQualityMetricsDatasetFacet,
    "inputStatistics": input_statistics_input_dataset.InputStatisticsInputDatasetFacet,
    "outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet,
}
PARTS: dict[str, Any] = {
    "run": event_v2.Run,
    "job": event_v2.Job,
    "inputs": event_v2.InputDataset,
    "outputs": event_v2.OutputDataset,
}


def check(content: dict[str, Any], kind: Any) -> None:
    """Checks that every key is known to the schema, and that no required key is missing."""
    fields = {field.name: field for field in attr.fields(kind)}
    assert content.keys() <= fields.keys(), kind
    assert {n for n, f in fields.items() if f.default is attr.NOTHING and f.init} <= content.keys()
    for name in ("facets", "inputFacets", "outputFacets"):
        for key, facet in content.get(name, {}).items():
            check(facet, FACETS[key])
    for key, part in PARTS.items():
        found = content.get(key, []) if kind is event_v2.RunEvent else []
        for one in found if isinstance(found, list) else [found]:
            check(one, part)


@pytest.fixture
def run(tfx):
    made = tfx.full_run("r", "1001")
    tfx.manifest(made["examples"])
    statistics = tfx.store.get_artifacts_by_id([made["statistics"]])[0].uri
    write_statistics(Path(statistics), "age")
    return made


def exported(tfx, tmp_path: Path, *arguments: str) -> list[dict[str, Any]]:
    out = tmp_path / "events.ndjson"
    command = ["--store", str(tfx.path), "export", *arguments, "--out", str(out)]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_every_event_fits_the_schema(tfx, run, tmp_path):
    events = exported(tfx, tmp_path)
    assert len(events) == 2 * (7 + 1)
    for event in events:
        check(event, event_v2.RunEvent)


def test_components_are_runs_below_the_pipelines(tfx, run, tmp_path):
    events = exported(tfx, tmp_path, "--namespace", "team")
    first, last = events[0], events[-1]
    assert first["job"]["name"] == last["job"]["name"] == "ctr"
    assert (first["eventType"], last["eventType"]) == ("START", "COMPLETE")
    below = [event for event in events if event["job"]["name"] != "ctr"]
    assert {e["run"]["facets"]["parent"]["run"]["runId"] for e in below} == {first["run"]["runId"]}
    assert {event["job"]["namespace"] for event in events} == {"team"}
    assert [event["eventTime"] for event in events] == sorted(e["eventTime"] for e in events)


def test_datasets_lead_from_the_sources_to_the_pushed_model(tfx, run, tmp_path):
    ends = {
        e["job"]["name"].removeprefix("ctr."): e
        for e in exported(tfx, tmp_path)
        if e["eventType"] == "COMPLETE"
    }
    generated, trained = ends["SparkExampleGen"], ends["Trainer"]
    [source] = generated["inputs"]
    assert (source["namespace"], source["name"]) == ("file", "/data/readings/{YYYY}/*.json.gz")
    statistics = source["inputFacets"]["inputStatistics"]
    assert (statistics["rowCount"], statistics["fileCount"], statistics["size"]) == (306, 2, 1200)
    examples = next(o for o in generated["outputs"] if o["name"].endswith("/examples"))
    assert examples["outputFacets"]["outputStatistics"]["rowCount"] == 193 + 98
    assert examples["facets"]["version"]["datasetVersion"] == str(run["examples"])
    names = [field["name"] for field in examples["facets"]["schema"]["fields"]]
    assert names == ["age", "price", "country"]
    assert examples["facets"]["dataQualityMetrics"]["columnMetrics"]["age"]["nullCount"] == 10
    assert examples["name"] in [i["name"] for i in ends["Transform"]["inputs"]]
    model = next(o["name"] for o in trained["outputs"] if o["name"].endswith("/model"))
    assert model in [i["name"] for i in ends["Pusher"]["inputs"]]


def test_a_failed_run_says_why_and_one_in_progress_has_no_end(tfx, tmp_path):
    tfx.execute("r", "SparkExampleGen", state=mlmd.Execution.FAILED)
    folder = tmp_path / "runs" / "r"
    folder.mkdir(parents=True)
    (folder / "run_summary.json").write_text(json.dumps({"error": "no such file"}))
    *_, failed, last = exported(tfx, tmp_path, "--summaries", str(folder.parent))
    for event in (failed, last):
        assert event["eventType"] == "FAIL"
        assert event["run"]["facets"]["errorMessage"]["message"] == "no such file"
    tfx.execute("s", "SparkExampleGen", state=mlmd.Execution.RUNNING)
    assert [e["eventType"] for e in exported(tfx, tmp_path)] == ["START", "START"]


def test_a_component_without_an_end_in_a_run_that_failed_was_aborted(tfx, tmp_path):
    tfx.execute("r", "StatisticsGen", state=mlmd.Execution.RUNNING)
    tfx.execute("r", "SparkExampleGen", state=mlmd.Execution.FAILED)
    ends = [(e["job"]["name"], e["eventType"]) for e in exported(tfx, tmp_path)]
    assert ("ctr.StatisticsGen", "ABORT") in ends


def test_ids_are_the_same_each_time(tfx, run, tmp_path):
    assert exported(tfx, tmp_path) == exported(tfx, tmp_path)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://bucket/a/model/7/", ("s3://bucket", "a/model/7")),
        ("s3a://bucket/logs", ("s3://bucket", "logs")),  # as OpenLineage's Spark listener says
        ("file:///a/b", ("file", "/a/b")),
        ("/data/2024/10", ("file", "/data/2024/10")),
        ("hdfs://name:8020/logs", ("hdfs://name:8020", "/logs")),
    ],
)
def test_datasets_are_named_by_scheme_and_path(uri, expected):
    assert dataset_name(uri) == expected


def test_an_output_of_every_run_is_one_dataset():
    assert output_name("/runs/artifacts/Trainer/model/7") == (
        "file",
        "/runs/artifacts/Trainer/model",
    )
    assert output_name("gs://b/Trainer/model/7/") == ("gs://b", "Trainer/model")


def test_a_dataset_is_among_the_inputs_once_in_its_newest_version(tfx, tmp_path):
    first = tfx.full_run("q", "1000")
    second = tfx.full_run("r", "1001", first["model"])  # Evaluator reads both models
    (end,) = [
        event
        for event in exported(tfx, tmp_path)
        if event["job"]["name"] == "ctr.Evaluator" and event["eventType"] == "COMPLETE"
    ]
    names = [one["name"] for one in end["inputs"]]
    assert len(names) == len(set(names))
    (model,) = [one for one in end["inputs"] if one["name"].endswith("Trainer/model")]
    assert model["facets"]["version"]["datasetVersion"] == str(second["model"])


def test_what_made_the_metadata_is_named_with_its_version(tfx, run, tmp_path):
    producers = {event["producer"] for event in exported(tfx, tmp_path)}
    assert producers == {f"https://github.com/tensorflow/tfx/tree/v{version('tfx')}"}


@pytest.fixture
def endpoint():
    """Keeps each request as (path, key, event); can reject all events from the third on."""
    kept: list[tuple[str, str | None, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            refused = getattr(self.server, "refuses", False) and len(kept) >= 2
            if not refused:
                kept.append((self.path, self.headers.get("Authorization"), body))
            self.send_response(403 if refused else 201)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server, kept
    server.shutdown()
    thread.join()
    server.server_close()


def sent(tfx, server, *arguments: str) -> Any:
    url = f"http://127.0.0.1:{server.server_port}"
    command = ["--store", str(tfx.path), "export", "--url", url, *arguments]
    return CliRunner().invoke(cli, command)


def test_events_are_posted_in_order_with_the_key(tfx, run, endpoint, monkeypatch):
    server, kept = endpoint
    monkeypatch.setenv("CATALOG_KEY", "k3y")
    done = sent(tfx, server, "--api-key-env", "CATALOG_KEY")
    assert done.exit_code == 0, done.output
    assert len(kept) == 16
    assert {(path, key) for path, key, _ in kept} == {("/api/v1/lineage", "Bearer k3y")}
    assert kept[0][2]["eventType"] == "START"


def test_an_endpoint_that_refuses_is_one_line(tfx, run, endpoint):
    server, _ = endpoint
    server.refuses = True
    done = sent(tfx, server)
    assert done.exit_code == 1
    [line] = done.output.splitlines()
    assert "took 2 of 16 events" in line
    assert "403" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --out FILE or --url URL"),
        (["--url", "nothing"], "took 0 of"),
        (["--url", "http://u:secret@x"], "no user or password in the address"),
        (["--url", "http://x", "--api-key-env", "NOT_SET_X"], "NOT_SET_X is not set"),
        (["--out", "/proc/x/events"], "cannot write"),
    ],
)
def test_errors_are_one_line(tfx, run, arguments, message):
    done = CliRunner().invoke(cli, ["--store", str(tfx.path), "export", *arguments])
    assert done.exit_code == 1
    assert message in done.output
    assert done.output.count("\n") == 1
