"""TFX reads the inputs that Kubeflow's own driver gives each step; see driver/README.md."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from kubeflow import step
from kubeflow.delivery import FILES
from kubeflow.report_task import NAME as REPORT

pytestmark = pytest.mark.unit
ROOT = Path(__file__).resolve().parents[2]
GIVEN = {path.stem: path for path in (Path(__file__).parent / "driver").glob("*.json")}
OF_TFX = sorted(GIVEN.keys() - {REPORT})
BUCKETS = re.compile(r"(minio://mlpipeline/v2/artifacts|gs://b/p)(?=/)")  # of the two runs
INPUTS = {
    "AnomalyGate": {"anomalies": "ExampleAnomalies"},
    "Baseline": {"candidate": "Model"},
    "Evaluator": {"examples": "Examples", "model": "Model", "schema": "Schema"},
    "ExampleValidator": {"schema": "Schema", "statistics": "ExampleStatistics"},
    "ImportSchemaGen": {},
    "ModelCanary": {"examples": "Examples", "model": "Model", "transform_graph": "TransformGraph"},
    "Pusher": {
        "infra_blessing": "InfraBlessing",
        "model": "Model",
        "model_blessing": "ModelBlessing",
    },
    "SparkExampleGen": {},
    "StatisticsGen": {"examples": "Examples"},
    "Trainer": {"examples": "Examples", "schema": "Schema", "transform_graph": "TransformGraph"},
    "Transform": {"examples": "Examples", "schema": "Schema"},
}


@functools.cache
def arguments_of(name: str) -> tuple[str, ...]:
    """Returns the arguments of the compiled step."""
    spec = next(yaml.safe_load_all((Path(__file__).parent / "golden/ctr.yaml").read_text()))
    (executor,) = [
        executor
        for label, executor in spec["deploymentSpec"]["executors"].items()
        if label.removesuffix("_executor") == name
    ]
    return tuple(executor["container"]["args"])


def to_tfx_input(name: str) -> dict[str, Any]:
    given = step.executor_input(GIVEN[name].read_text("utf-8"))
    return step.to_tfx_input(given, step.input_types(arguments_of(name)))


def read_by_tfx(invocation: dict[str, Any], side: str) -> dict[str, list[Any]]:
    """Parses the arguments as TFX's entrypoint does."""
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils as tfx

    parsed = json_format.Parse(
        json.dumps(invocation), pipeline_spec_pb2.ExecutorInput(), ignore_unknown_fields=True
    )
    found: dict[str, list[Any]] = tfx.parse_raw_artifact_dict(getattr(parsed, side).artifacts, {})
    return found


def test_every_step_has_a_case() -> None:
    assert set(INPUTS) == set(OF_TFX)


@pytest.mark.parametrize("name", OF_TFX)
def test_tfx_reads_the_inputs_with_their_types(name: str) -> None:
    found = read_by_tfx(to_tfx_input(name), "inputs")
    assert {key: one.type_name for key, (one,) in found.items()} == INPUTS[name]
    for (one,) in found.values():
        assert one.uri.startswith("/minio/mlpipeline/v2/artifacts/ctr/")
        for added in ("display_name", "store_session_info", FILES):
            assert not one.has_custom_property(added)
    assert len({one.id for (one,) in found.values()}) == len(found)


@pytest.mark.parametrize("name", OF_TFX)
def test_tfx_reads_the_outputs_and_leaves_kubeflow_its_log(name: str) -> None:
    given = json.loads(GIVEN[name].read_text("utf-8"))
    assert step.LOGS in given["outputs"]["artifacts"]
    found = read_by_tfx(to_tfx_input(name), "outputs")
    assert {*found} == {*given["outputs"]["artifacts"]} - {step.LOGS}


def test_what_a_step_said_of_its_output_arrives() -> None:
    (examples,) = read_by_tfx(to_tfx_input("Transform"), "inputs")["examples"]
    assert examples.get_int_custom_property("rows_train") == 15054
    assert examples.split_names == '["train", "eval"]'
    (blessing,) = read_by_tfx(to_tfx_input("Pusher"), "inputs")["model_blessing"]
    assert blessing.get_int_custom_property("blessed") == 1


def here(name: str, folder: Path) -> list[str]:
    """Returns the step's command with the test's folder in place of the bucket."""
    given = BUCKETS.sub(str(folder), GIVEN[name].read_text("utf-8"))
    place = str(folder / "task")
    document = json.loads(given)
    document["outputs"]["outputFile"] = f"{place}/output_metadata.json"
    document["outputs"]["parameters"]["account"]["outputFile"] = f"{place}/account"
    return [json.dumps(document) if word == "{{$}}" else word for word in arguments_of(name)]


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kubeflow.step", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def test_a_step_runs_as_kubeflow_calls_it(tmp_path: Path) -> None:
    done = run(here("ImportSchemaGen", tmp_path))
    assert done.returncode == 0, done.stderr
    said = json.loads((tmp_path / "task/output_metadata.json").read_text())
    assert [*said["artifacts"]] == ["schema"]
    (schema,) = said["artifacts"]["schema"]["artifacts"]
    assert schema["name"] == "schema"
    assert (Path(schema["uri"]) / "schema.pbtxt").is_file()
    assert schema["metadata"][FILES].startswith("1 files, ")
    assert said["parameterValues"].keys() == {"account"}
    assert not list(tmp_path.rglob(step.LOGS))  # the launcher's


def test_a_file_of_another_try_among_the_inputs_stops_the_step(tmp_path: Path) -> None:
    arguments = here("AnomalyGate", tmp_path)
    place = arguments.index(step.INVOCATION) + 1
    given = json.loads(arguments[place])
    (anomalies,) = given["inputs"]["artifacts"]["anomalies"]["artifacts"]
    for split in ("train", "eval"):
        folder = Path(anomalies["uri"]) / f"Split-{split}"
        folder.mkdir(parents=True)
        (folder / "SchemaDiff.pb").write_bytes(b"")
    anomalies["metadata"][FILES] = step.listing(Path(anomalies["uri"]))
    arguments[place] = json.dumps(given)
    done = run(arguments)
    assert done.returncode == 0, done.stderr

    (Path(anomalies["uri"]) / "Split-train" / "data-of-the-first-try").write_bytes(b"!")
    done = run(arguments)
    assert done.returncode == 1
    assert "the input anomalies is not what the step before gave: 3 files, 1 bytes" in done.stderr
    assert "start a new run" in done.stderr
