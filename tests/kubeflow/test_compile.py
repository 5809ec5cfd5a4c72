"""The compiled pipeline: its content, and what must never be in it."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from base.errors import ComponentError
from kubeflow import compile as kubeflow_compile
from kubeflow.report_task import add_report
from pipeline.config import ConfigError
from tests.product import config_path

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "registry.example:5000/team/ctr@sha256:12ab"
SECRET = "hunter2-of-the-store"
CONFIGS = ("ctr", "ctr-loop", "ctr-stream", "fraud", "movielens")
GOLDEN = Path(__file__).parent / "golden"

# Each step with the steps it waits for.
STEPS = {
    "SparkExampleGen": set(),
    "StatisticsGen": {"SparkExampleGen"},
    "ImportSchemaGen": set(),
    "ExampleValidator": {"StatisticsGen", "ImportSchemaGen"},
    "AnomalyGate": {"ExampleValidator"},
    "Transform": {"SparkExampleGen", "ImportSchemaGen", "AnomalyGate"},
    "Trainer": {"Transform", "ImportSchemaGen"},
    "Baseline": {"Trainer"},
    "Evaluator": {"SparkExampleGen", "ImportSchemaGen", "Trainer", "Baseline"},
    "ModelCanary": {"SparkExampleGen", "Transform", "Trainer"},
    "Pusher": {"Trainer", "Evaluator", "ModelCanary"},
}
STEPS["Report"] = set(STEPS)


BY_THE_HOUR = ("ctr-stream", "ctr-loop")


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Compiles all configs in one process, since importing TFX is slow; config -> file."""
    folder = tmp_path_factory.mktemp("compiled")
    files = {name: folder / f"{name}.yaml" for name in CONFIGS}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setenv("MLMD_PASSWORD", SECRET)
        for name, file in files.items():
            result = invoke(file, "--image", IMAGE, config=name)
            assert result.exit_code == 0, result.output
            *warnings, said = result.output.splitlines()
            assert said == f"{file}: {len(STEPS)} steps, image {IMAGE}"
            # These need our own store, and what has no effect is said.
            local = ["trainer.warm_start", "incremental"] if name in BY_THE_HOUR else []
            assert [line.split(": ")[1] for line in warnings] == local
        yield files


def invoke(output: Path, *arguments: str, config: str = "ctr") -> Result:
    path = config_path(config)
    return CliRunner().invoke(
        kubeflow_compile.main, ["--config", path, "--output", str(output), *arguments]
    )


def test_trees_are_a_step_after_the_pusher_if_they_are_set(tmp_path: Path) -> None:
    file = tmp_path / "ctr.yaml"
    result = invoke(file, "--image", IMAGE, "--set", "trainer.baseline=true")
    assert result.exit_code == 0, result.output
    spec = spec_of(file)
    tasks = tasks_of(spec)
    assert {*tasks} == {*STEPS, "TreeBaseline"}
    assert {*tasks["TreeBaseline"]["dependentTasks"]} == {
        *("Pusher", "SparkExampleGen", "ImportSchemaGen")
    }
    assert "TreeBaseline_comparison" in tasks["Report"]["inputs"]["artifacts"]
    assert "components.TreeComparison" in file.read_text("utf-8")


def spec_of(file: Path) -> dict[str, Any]:
    return documents_of(file)[0]


def documents_of(file: Path) -> list[dict[str, Any]]:
    return [*yaml.safe_load_all(file.read_text("utf-8"))]


def tasks_of(spec: dict[str, Any]) -> dict[str, Any]:
    return spec["root"]["dag"]["tasks"]


def parameters_of(spec: dict[str, Any], step: str) -> dict[str, Any]:
    given = tasks_of(spec)[step]["inputs"]["parameters"]
    return {
        name: value["runtimeValue"]["constant"]
        for name, value in given.items()
        if "runtimeValue" in value
    }


def containers_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    executors = spec["deploymentSpec"]["executors"].values()
    return [executor["container"] for executor in executors if "container" in executor]


def refusal(result: Result) -> str:
    """Returns the one line with which a failed command ends."""
    assert result.exit_code == 2, result.output
    assert result.output.count("\n") == 1, result.output
    return result.output


@pytest.mark.parametrize("config", CONFIGS)
def test_the_compiled_pipeline_matches_the_golden_file(
    compiled: dict[str, Path], config: str
) -> None:
    """Both TFX lines compile the same. `UPDATE_GOLDEN=1` writes what is compared with."""
    golden = GOLDEN / f"{config}.yaml"
    text = without_versions(compiled[config].read_text("utf-8"))
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text, "utf-8")
    assert text == golden.read_text("utf-8")


def without_versions(text: str) -> str:
    """Masks hashes of code and TFX's version, which are not compared."""
    text = re.sub(r"\b[0-9a-f]{64}\b", "SHA256", text)
    return re.sub(r"sdkVersion: .*", "sdkVersion: TFX", text)


def test_the_spec_is_of_schema_version_2_1(compiled: dict[str, Path]) -> None:
    spec = spec_of(compiled["ctr"])
    assert spec["schemaVersion"] == "2.1.0"
    assert spec["pipelineInfo"] == {"name": "ctr"}
    assert spec["defaultPipelineRoot"] == "minio://mlpipeline/v2/artifacts"


@pytest.mark.parametrize("config", CONFIGS)
def test_kfp_loads_the_file(compiled: dict[str, Path], config: str) -> None:
    from kfp import components

    from_file = components.load_component_from_file(str(compiled[config]))
    assert from_file.name == config
    assert from_file.description == kubeflow_compile.DESCRIPTION


@pytest.mark.parametrize("config", CONFIGS)
def test_every_step_is_there_and_waits_for_the_right_ones(
    compiled: dict[str, Path], config: str
) -> None:
    waits = {}
    for name, task in tasks_of(spec_of(compiled[config])).items():
        inputs = task.get("inputs", {}).get("artifacts", {}).values()
        producers = {entry["taskOutputArtifact"]["producerTask"] for entry in inputs}
        waits[name] = producers | set(task.get("dependentTasks", []))
    assert waits == STEPS


@pytest.mark.parametrize("config", CONFIGS)
def test_every_container_step_runs_in_the_given_image(
    compiled: dict[str, Path], config: str
) -> None:
    containers = containers_of(spec_of(compiled[config]))
    assert [container["image"] for container in containers] == [IMAGE] * len(STEPS)


def test_a_step_can_import_every_artifact_type(compiled: dict[str, Path]) -> None:
    from tfx.orchestration.kubeflow.v2 import compiler_utils
    from tfx.utils import import_utils

    titles = {
        yaml.safe_load(entry["artifactType"]["instanceSchema"])["title"]
        for component in spec_of(compiled["ctr"])["components"].values()
        for entry in component.get("outputDefinitions", {}).get("artifacts", {}).values()
        if "instanceSchema" in entry["artifactType"]  # the report's is of KFP
    }
    assert "components.QuarantinedRecords" in titles
    for title in titles:  # as TFX's kubeflow_v2_entrypoint_utils does in the container
        path = compiler_utils.TITLE_TO_CLASS_PATH.get(title, title)
        assert import_utils.import_class_by_path(path).TYPE_NAME in (title, title.split(".")[-1])


def test_a_decision_is_one_more_output_that_the_report_reads(tmp_path: Path) -> None:
    file = tmp_path / "ctr.yaml"
    result = invoke(file, "--image", IMAGE, "--set", "trainer.decision.budget=0.005")
    assert result.exit_code == 0, result.output
    spec = spec_of(file)
    outputs = spec["components"]["Trainer"]["outputDefinitions"]["artifacts"]
    schema = yaml.safe_load(outputs["decision"]["artifactType"]["instanceSchema"])
    assert schema["title"] == "components.Decision"
    assert tasks_of(spec)["Report"]["inputs"]["artifacts"]["Trainer_decision"] == {
        "taskOutputArtifact": {"outputArtifactKey": "decision", "producerTask": "Trainer"}
    }
    given = json.loads(parameters_of(spec, "Trainer")["custom_config"])
    assert given["decision"] == {"budget": 0.005, "threshold": None, "costs": None}


def test_nothing_of_this_machine_and_no_secret_is_in_it(
    compiled: dict[str, Path],
) -> None:
    for file in compiled.values():
        text = file.read_text("utf-8")
        for private in (str(file.parent), str(ROOT), f"{Path.home()}/", SECRET):
            assert private not in text


def test_no_step_is_answered_from_kubeflows_cache(compiled: dict[str, Path]) -> None:
    """Its cache key ignores the files that are read, edited schemas and served models."""
    for file in compiled.values():
        assert not any("cachingOptions" in task for task in tasks_of(spec_of(file)).values())


@pytest.mark.parametrize("config", CONFIGS)
def test_no_step_needs_what_open_source_kubeflow_does_not_run(
    compiled: dict[str, Path], config: str
) -> None:
    """Drivers before a step, resolvers and importers run on Vertex AI only."""
    spec = spec_of(compiled[config])
    for executor in spec["deploymentSpec"]["executors"].values():
        assert set(executor) == {"container"}
    for container in containers_of(spec):
        assert set(container) == {"image", "command", "args"}
    commands = {
        name: spec["deploymentSpec"]["executors"][f"{name}_executor"]["container"]["command"]
        for name in STEPS
    }
    report = commands.pop("Report")
    assert report == ["python", "-m", "kubeflow.report_step"]
    assert all(command == ["python", "-m", "kubeflow.step"] for command in commands.values())


def test_the_report_takes_no_examples_models_or_rejected_records(
    compiled: dict[str, Path],
) -> None:
    """Kubeflow would download them whole."""
    spec = spec_of(compiled["ctr"])
    taken = spec["components"]["Report"]["inputDefinitions"]["artifacts"].values()
    titles = {yaml.safe_load(one["artifactType"]["instanceSchema"])["title"] for one in taken}
    assert titles == {
        "tfx.ExampleAnomalies",
        "tfx.ExampleStatistics",
        "tfx.ModelEvaluation",
        "tfx.ModelRun",
    }
    (page,) = spec["components"]["Report"]["outputDefinitions"]["artifacts"].values()
    assert page["artifactType"]["schemaTitle"] == "system.HTML"


def test_a_name_that_the_report_needs_is_refused(tmp_path: Path) -> None:
    golden = spec_of(GOLDEN / "ctr-loop.yaml")
    with pytest.raises(ConfigError, match="has a component Report"):
        add_report(golden, IMAGE)
    del tasks_of(golden)["Report"]
    with pytest.raises(ConfigError, match="AnomalyGate has an output account"):
        add_report(golden, IMAGE)


def test_without_a_report_there_is_no_step_for_it(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    assert invoke(file, "--set", "report=false").exit_code == 0
    spec = spec_of(file)
    assert set(tasks_of(spec)) == set(STEPS) - {"Report"}
    outputs = [one.get("outputDefinitions", {}) for one in spec["components"].values()]
    assert not any("account" in one.get("parameters", {}) for one in outputs)


def test_paths_are_parameters_and_the_config_says_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "p.yml"
    roots = {"pipeline": "s3://bucket/runs", "data": "/logs", "serving": "/models"}
    sets = [f"--set=kubeflow.{name}_root={path}" for name, path in roots.items()]
    assert invoke(file, *sets, "--set=spans.window=3").exit_code == 0
    spec = spec_of(file)
    assert spec["defaultPipelineRoot"] == "s3://bucket/runs"
    assert parameters_of(spec, "ImportSchemaGen")["schema_file"] == "schemas/ctr.pbtxt"
    defaults = {
        name: one["defaultValue"]
        for name, one in spec["root"]["inputDefinitions"]["parameters"].items()
    }
    assert defaults == {"data_root": "/logs", "serving_root": "/models", "span": -1, "window": 3}
    taken = {
        name: {
            key
            for key, one in task["inputs"]["parameters"].items()
            if one.get("componentInputParameter") == key
        }
        for name, task in tasks_of(spec).items()
        if task["inputs"].get("parameters")
    }
    assert {name: keys for name, keys in taken.items() if keys} == {
        "SparkExampleGen": {"data_root", "span", "window"},
        "Baseline": {"serving_root"},
        "Pusher": {"serving_root"},
    }
    for root in ("/logs", "/models"):
        assert file.read_text("utf-8").count(root) == 1


def test_a_component_that_tfx_cannot_compile_is_named(tmp_path: Path) -> None:
    changed = "serving.canary.infra_validator={tags: [2.16.1]}"
    result = invoke(tmp_path / "p.yaml", "--set", changed)
    assert result.exit_code == 2
    assert "serving.canary.infra_validator: TFX does not compile" in result.output


def test_the_config_gives_the_image_unless_one_is_named(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    assert invoke(file, "--set", "kubeflow.image=localhost/ours:1").exit_code == 0
    assert {container["image"] for container in containers_of(spec_of(file))} == {
        "localhost/ours:1"
    }


def test_a_span_and_overrides_are_the_defaults_of_a_run(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    result = invoke(file, "--span", "9", "--set", "spans.window=3")
    assert result.exit_code == 0, result.output
    spec = spec_of(file)
    given = spec["root"]["inputDefinitions"]["parameters"]
    assert (given["span"]["defaultValue"], given["window"]["defaultValue"]) == (9, 3)
    assert "range_config" not in parameters_of(spec, "SparkExampleGen")


def test_the_command_compiles_the_same_in_another_process(
    compiled: dict[str, Path], tmp_path: Path
) -> None:
    file = tmp_path / "ctr.yaml"
    command = [
        sys.executable,
        "-m",
        "kubeflow.compile",
        "--config",
        "applications/ctr/configs/ctr.yaml",
    ]
    done = subprocess.run(
        [*command, "--output", str(file), "--image", IMAGE],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "4"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{file}: {len(STEPS)} steps, image {IMAGE}\n"
    assert "Warning" not in done.stderr
    assert file.read_text("utf-8") == compiled["ctr"].read_text("utf-8")


def test_the_command_starts_without_importing_tfx() -> None:
    code = "import sys, kubeflow.compile; sys.exit('tfx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--set", "kubeflow.imaeg=x"], "kubeflow.imaeg: unknown key"),
        (["--set", "application=pipeline.nothing"], "there is no package pipeline.nothing"),
        (["--image", "two words"], "must be a container image. Received: 'two words'"),
        (["--image", ""], "must be a container image. Received: ''"),
        (["--config", "nowhere.yaml"], "there is no config nowhere.yaml"),
        (["--set", f"spark.conf={{spark.hadoop.fs.s3a.secret.key: {SECRET}}}"], "s3a.secret.key"),
        (["--set", f"sources.users.options={{password: {SECRET}}}"], "option 'password' holds"),
    ],
)
def test_a_wrong_argument_is_one_line(tmp_path: Path, arguments: list[str], named: str) -> None:
    file = tmp_path / "p.yaml"
    line = refusal(invoke(file, *arguments))
    assert named in line
    assert SECRET not in line
    assert not file.exists()


def test_the_name_of_a_secret_is_no_secret(tmp_path: Path) -> None:
    reference = "spark.kubernetes.driver.secretKeyRef.S3_KEY"
    named = ["--set", f"spark.conf={{{reference}: 's3:key'}}"]
    assert invoke(tmp_path / "p.yaml", *named).exit_code == 0


def test_a_schema_outside_the_project_is_an_error(tmp_path: Path) -> None:
    schema = tmp_path / "schema.pbtxt"
    schema.write_text((ROOT / "schemas/ctr.pbtxt").read_text("utf-8"))
    line = refusal(invoke(tmp_path / "p.yaml", "--set", f"schema={schema}"))
    assert "outside the project" in line


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("p.txt", "must end in .yaml or .yml"),
        ("p.json", "must end in .yaml or .yml"),
        ("nowhere/p.yaml", "there is no folder"),
        ("folder.yaml", "this is a folder"),
    ],
)
def test_an_output_that_cannot_be_written_is_one_line(
    tmp_path: Path, name: str, named: str
) -> None:
    (tmp_path / "folder.yaml").mkdir()
    assert named in refusal(invoke(tmp_path / name))


def test_a_full_disk_leaves_the_file_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = tmp_path / "p.yaml"
    file.write_text("earlier")
    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in refusal(invoke(file))
    assert file.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [file]


def test_a_spec_that_kfp_cannot_load_is_an_error(compiled: dict[str, Path]) -> None:
    text = compiled["ctr"].read_text("utf-8")
    with pytest.raises(ComponentError, match=r"kfp rejects the compiled pipeline: .*noSuchField"):
        kubeflow_compile.check_loads(f"{text}noSuchField: 1\n")
