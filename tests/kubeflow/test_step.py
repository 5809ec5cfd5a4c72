"""The adapter between Kubeflow and TFX in a container."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kubeflow import step

pytestmark = pytest.mark.unit
ROOT = Path(__file__).resolve().parents[2]


def artifact(uri: str, name: str = "model", **metadata: Any) -> dict[str, Any]:
    return {"artifacts": [{"name": name, "uri": uri, "metadata": metadata}]}


def given(
    parameters: dict[str, Any] | None = None, outputs: dict[str, Any] | None = None, **inputs: Any
) -> dict[str, Any]:
    return {
        "inputs": {"parameterValues": parameters or {}, "artifacts": inputs},
        "outputs": {"artifacts": outputs or {}, "outputFile": "/tmp/kfp/out.json"},
    }


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("minio://bucket/v2/a", "/minio/bucket/v2/a"),
        ("s3://bucket/a", "/s3/bucket/a"),
        ("gs://bucket/a", "/gcs/bucket/a"),
        # launcher_v2.go of 2.17, LocalPathForURI
        ("oci://registry.example/my/model:1", "/oci/registry.example_my_model:1/models"),
        ("/mnt/pipeline/a", "/mnt/pipeline/a"),
    ],
)
def test_artifacts_are_read_where_the_launcher_puts_them(uri: str, path: str) -> None:
    found = step.to_tfx_input(given(outputs={"b": artifact(uri)}, a=artifact(uri)), {})
    for side, key in (("inputs", "a"), ("outputs", "b")):
        (one,) = found[side]["artifacts"][key]["artifacts"]
        assert one["uri"] == path


@pytest.mark.parametrize(
    ("executor", "runner", "elsewhere"),
    [
        ("tfx.components.transform.executor.Executor", "--runner=DataflowRunner", True),
        ("components.evaluator.executor.EvaluatorExecutor", "--runner=DataflowRunner", True),
        ("tfx.components.evaluator.executor.Executor", "--runner=PortableRunner", False),
        ("components.spark_example_gen.executor.SparkExampleGenExecutor", step.DATAFLOW, False),
    ],
)
def test_dataflow_is_given_the_uris_by_the_steps_it_works_for(
    executor: str, runner: str, elsewhere: bool
) -> None:
    assert step.works_elsewhere([step.EXECUTOR, executor, runner]) is elsewhere
    found = step.to_tfx_input(
        given(outputs={"b": artifact("gs://b/2")}, a=artifact("gs://b/1")), {}, True
    )
    (one,) = found["inputs"]["artifacts"]["a"]["artifacts"]
    (other,) = found["outputs"]["artifacts"]["b"]["artifacts"]
    assert (one["uri"], other["uri"]) == ("gs://b/1", "gs://b/2")


def test_two_models_of_the_same_name_have_different_ids() -> None:
    found = step.to_tfx_input(
        given(model=artifact("s3://b/1"), baseline_model=artifact("s3://b/2")), {}
    )
    names = {one["artifacts"][0]["name"] for one in found["inputs"]["artifacts"].values()}
    assert len(names) == 2


def test_an_absent_artifact_is_no_input() -> None:
    absent = artifact("x", absent=1.0)
    found = step.to_tfx_input(given(model=artifact("s3://b/1"), baseline_model=absent), {})
    assert set(found["inputs"]["artifacts"]) == {"model"}


def test_the_executor_input_is_not_changed() -> None:
    before = given({"span": 3, "window": 2}, model=artifact("s3://b/1"))
    copy = json.loads(json.dumps(before))
    step.to_tfx_input(before, {})
    assert before == copy


def test_parameters_of_the_pipeline_are_put_into_texts() -> None:
    destination = json.dumps({"base": "{{$.inputs.parameters['serving_root']}}/ctr"})
    found = step.to_tfx_input(
        given({"push_destination": destination, "serving_root": "/models"}), {}
    )
    assert json.loads(found["inputs"]["parameterValues"]["push_destination"]) == {
        "base": "/models/ctr"
    }


@pytest.mark.parametrize(
    ("span", "window", "expected"),
    [
        (-1.0, 24.0, {"rollingRange": {"numSpans": 24}}),
        (9, 3, {"staticRange": {"startSpanNumber": 7, "endSpanNumber": 9}}),
        ("9", "1", {"staticRange": {"startSpanNumber": 9, "endSpanNumber": 9}}),
    ],
)
def test_span_and_window_are_a_range_of_tfx(span: Any, window: Any, expected: Any) -> None:
    values = step.to_tfx_input(given({"span": span, "window": window}), {})["inputs"][
        "parameterValues"
    ]
    assert json.loads(values.pop("range_config")) == expected
    assert values == {}


def test_an_output_without_a_file_has_its_folder(tmp_path: Path) -> None:
    """Some releases of Kubeflow fail without the folder."""
    (tmp_path / "made").mkdir()
    uris = [str(tmp_path / "made"), str(tmp_path / "run/empty"), "gs://bucket/elsewhere"]
    step.make_output_folders(given(outputs={uri: artifact(uri) for uri in uris}))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty", "made", "run"]


def test_what_a_step_says_of_itself_is_no_parameter_of_tfx() -> None:
    invocation = given()
    invocation["outputs"]["parameters"] = {"account": {"outputFile": "/tmp/account"}}
    assert step.to_tfx_input(invocation, {})["outputs"]["parameters"] == {}


def test_kubeflow_gets_its_own_names_and_places_back() -> None:
    said = {"artifacts": {"model": artifact("/s3/b/1", "/s3/b/1", blessed=1)}}
    found = step.to_kubeflow_output(said, {"/s3/b/1": ("model", "s3://b/1")})
    assert found == {"artifacts": {"model": artifact("s3://b/1", "model", blessed=1)}}


def test_what_a_blessing_says_of_models_has_kubeflows_names_and_places() -> None:
    said = {
        "artifacts": {
            "blessing": artifact(
                "/s3/b/2", "/s3/b/2", current_model="/s3/b/1", current_model_id="/s3/b/1"
            )
        }
    }
    names = {"/s3/b/1": ("18", "s3://b/1"), "/s3/b/2": ("blessing", "s3://b/2")}
    (found,) = step.to_kubeflow_output(said, names)["artifacts"]["blessing"]["artifacts"]
    assert found["metadata"] == {"current_model": "s3://b/1", "current_model_id": "18"}


def test_a_place_that_an_executor_chose_stays() -> None:
    said = {"artifacts": {"model": artifact("/elsewhere", "x")}}
    assert step.to_kubeflow_output(said, {}) == said


def run(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    start = f"{code}\nimport sys\nfrom kubeflow import step\nsys.exit(step.main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", start, *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def test_without_what_kubeflow_says_it_is_one_line() -> None:
    done = run("--executor_class_path", "x")
    assert done.returncode == 2
    assert done.stderr == (
        "kubeflow.step: --json_serialized_invocation_args is missing; Kubeflow gives it\n"
    )


def test_json_that_a_parameter_broke_is_one_line() -> None:
    text = json.dumps(given({"base": "BASE"})).replace("BASE", 'a "quoted" name')
    done = run("--json_serialized_invocation_args", text)
    assert done.returncode == 1
    assert "is not valid JSON" in done.stderr.splitlines()[-1]
    assert "none may have a quotation mark or a backslash" in done.stderr.splitlines()[-1]


def test_an_image_without_a_dependency_says_which() -> None:
    hidden = "import sys; sys.modules['tfx'] = None"
    done = run("--json_serialized_invocation_args", json.dumps(given()), code=hidden)
    assert done.returncode == 1
    assert "the image has no module tfx" in done.stderr
    assert "kubeflow/Containerfile" in done.stderr


def test_a_step_that_fails_says_the_cause_that_a_worker_of_beam_sent() -> None:
    failing = """
from kubeflow import step

def fail():
    frame = '  File "/code/shop/etl.py", line 9, in parse'
    raise RuntimeError(f"Traceback (most recent call last):\\n{frame}\\nValueError: no good: b\\n")

step.run_tfx = fail
"""
    done = run("--json_serialized_invocation_args", json.dumps(given()), code=failing)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "kubeflow.step: ValueError: no good: b (/code/shop/etl.py, line 9); "
        "the log has the whole trace"
    )
