"""What is compiled for Kubeflow gives, step by step, what the pipeline gives on a laptop."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.project import copy_of_the_data
from tests.e2e.small_data import SMALL
from tests.lineage.browser import opened, scroll_through

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]

SUMMARY = """
import json, sys
from metadata.reader import MetadataReader
from local_run.summary import summarize
from pipeline.config import load_config
store = MetadataReader.sqlite(sys.argv[1])
config = load_config("applications/ctr/configs/ctr.yaml")
print(json.dumps(summarize(config, store, store.run("latest").run_id, {}, {})))
"""


@pytest.fixture(scope="module")
def project(after_a_run):
    return after_a_run[0]


@pytest.fixture(scope="module")
def local(after_a_run) -> dict[str, Any]:
    """The run of local_runner.py; what it pushed is served when the compiled one begins."""
    return after_a_run[1]


IMAGE = "localhost/spark-tfx-pipeline:test"
# A volume of the cluster; here a folder takes its place.
IN_CLUSTER = (
    f"--image={IMAGE}",
    "--set=kubeflow.volumes=[{claim: shared, path: /mnt/shared}]",
    "--set=kubeflow.data_root=/mnt/shared/data/ctr",
    "--set=kubeflow.serving_root=/mnt/shared/serving_models",
    "--set=kubeflow.steps={default: {memory_gb: 2, memory_limit_gb: 8}}",
)


@pytest.fixture(scope="module")
def compiled(project, local) -> Path:
    return compile_to(project, "ctr.yaml")


def compile_to(project, name: str, *arguments: str) -> Path:
    config = "applications/ctr/configs/ctr.yaml"
    given = ("--config", config, "--output", name, *SMALL, *arguments)
    project.command("-m", "kubeflow.compile", *given)
    return Path(project.folder / name)


def run(project, place: Path, *arguments: str, code: int = 0) -> str:
    """Runs the compiled pipeline by processes, on the data and the served models of `place`."""
    roots = {"data_root": "data/ctr", "serving_root": "serving_models"}
    given = [f"--param={name}={place / path}" for name, path in roots.items()]
    command = ("-m", "kubeflow.run_local", "ctr.yaml", *given, *arguments)
    done = project.command(*command, code=code)
    return str(done.stdout + done.stderr)


def run_in_containers(project, place: Path, spec: str, *arguments: str, code: int = 0) -> str:
    command = ("-m", "kubeflow.run_local", spec, "--engine=podman", *arguments)
    done = project.command(*command, f"--claim=shared={place}", code=code)
    return str(done.stdout + done.stderr)


def summary_of(project, folder: Path) -> dict[str, Any]:
    done = project.command("-c", SUMMARY, str(folder / "metadata.sqlite"))
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def image() -> str:
    """Built once; half a minute when all layers are there."""
    built = subprocess.run(
        [ROOT / "tests/image.sh", IMAGE], capture_output=True, text=True, timeout=1200, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return IMAGE


# Building the image takes many minutes on a new machine: what needs it is for `make test-slow`.
ENGINES = ["process", pytest.param("podman", marks=[pytest.mark.host, pytest.mark.slow])]


@pytest.fixture(scope="module")
def place(project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The volume of the cluster: data and served models, which the steps read and push to."""
    return copy_of_the_data(project, tmp_path_factory.mktemp("volume"))


@pytest.fixture(scope="module", params=ENGINES)
def stepwise(project, compiled, place, request) -> dict[str, Any]:
    """The compiled pipeline after the same local run: by processes, and by the image's containers
    with TFX 1.21, whatever line is here.
    """
    folder = place / request.param
    served = max((place / "serving_models/ctr").glob("[0-9]*"), key=lambda v: int(v.name))
    if request.param == "process":
        said = run(project, place, f"--folder={folder}")
    else:
        request.getfixturevalue("image")
        compile_to(project, "containers.yaml", *IN_CLUSTER)
        said = run_in_containers(project, place, "containers.yaml", f"--folder={folder}")
    summary = summary_of(project, folder)
    return {**summary, "said": said, "folder": folder, "before": served}


def test_every_step_is_done(local, stepwise) -> None:
    states = {one["id"]: one["state"] for one in stepwise["components"]}
    steps = {one["id"] for one in local["components"]} | {"Report"}
    assert states == dict.fromkeys(steps, "complete")
    assert stepwise["said"].count(" done ") == len(states)


def test_rows_splits_and_metrics_are_those_of_the_local_run(local, stepwise) -> None:
    assert stepwise["rows"] == local["rows"]
    assert stepwise["span"] == local["span"]
    for name in ("auc", "log_loss", "calibration"):
        assert stepwise["metrics"][name] == pytest.approx(local["metrics"][name], rel=0.02)
    assert stepwise["blessed"]
    assert stepwise["canary"] == {"blessed": True, "reason": None}


def test_the_candidate_is_compared_with_what_was_served(stepwise) -> None:
    (baseline,) = stepwise["folder"].glob("*/Baseline/*/model")
    exported = baseline / "Format-Serving/saved_model.pb"
    assert exported.read_bytes() == (stepwise["before"] / "saved_model.pb").read_bytes()
    (validation,) = stepwise["folder"].glob("*/Evaluator/*/blessing/BLESSED")
    assert validation.exists()


def test_the_last_step_writes_the_report(stepwise) -> None:
    (path,) = re.findall(r"^report: (.*)$", stepwise["said"], re.MULTILINE)
    with opened(Path(path)) as (page, complaints):
        scroll_through(page)
        steps = page.locator("#pipeline a title").all_text_contents()
        metrics = page.locator("#evaluation table").first.inner_text()
        read = page.locator("#data p").first.inner_text()
        decided = page.locator("#decision p").first.inner_text()
    assert complaints == []
    assert {step.split(":")[0] for step in steps} | {"Report"} == {
        one["id"] for one in stepwise["components"]
    }
    assert f"{stepwise['metrics']['auc']:.4f}" in metrics
    assert f"{stepwise['rows']['read']:,} read = " in read
    assert "adds up" in read
    assert decided.startswith("An example is reviewed if its score is ")


def test_lineage_goes_back_to_the_files(project, stepwise) -> None:
    store = str(stepwise["folder"] / "metadata.sqlite")
    said = project.command("-m", "lineage", "trace", "latest", "--store", store).stdout
    etl = "ETL  applications.ctr.etl.build_examples"
    for text in ("served from", "Model ", "review from a score of", etl, "adds up"):
        assert text in said
    assert stepwise["pushed_model"] in said


def test_a_step_that_fails_is_one_line_and_what_waits_for_it_is_not_run(
    project, compiled, place, tmp_path: Path
) -> None:
    failed = ("--param=data_root=/nowhere", f"--folder={tmp_path / 'failed'}")
    said = run(project, place, *failed, code=1)
    lines = [line for line in said.splitlines() if line.startswith(("Spark", "Import", "Stat"))]
    assert [line.split()[:2] for line in lines] == [
        ["ImportSchemaGen", "done"],
        ["SparkExampleGen", "FAILED"],
    ]
    assert "/nowhere" in said
    assert "Traceback" not in said
    states = {
        one["id"]: one["state"] for one in summary_of(project, tmp_path / "failed")["components"]
    }
    assert states == {"ImportSchemaGen": "complete", "SparkExampleGen": "failed"}


@pytest.mark.host
@pytest.mark.slow
def test_a_step_that_is_killed_for_its_memory_says_so(project, compiled, place, image) -> None:
    """By the kernel, at the container's limit: TFX needs three times as much to begin."""
    limits = "--set=kubeflow.steps={default: {memory_gb: 0.1, memory_limit_gb: 0.2}}"
    compile_to(project, "tight.yaml", *IN_CLUSTER, limits)
    said = run_in_containers(project, place, "tight.yaml", f"--folder={place / 'tight'}", code=1)
    assert "ImportSchemaGen      FAILED" in said
    assert "it was killed, most likely for its memory (its limit: 0.2 GB)" in said
    assert "kubeflow.steps.ImportSchemaGen.memory_limit_gb" in said


@pytest.mark.host
@pytest.mark.slow
def test_an_image_without_a_dependency_says_which(
    project, compiled, place, image, tmp_path
) -> None:
    recipe = tmp_path / "Containerfile"
    recipe.write_text(
        f"FROM {image}\nUSER 0\nRUN rm -r .venv/lib/python3.*/site-packages/pyspark\n"
    )
    broken = "localhost/without-pyspark"
    build = ["podman", "build", "--quiet", f"--file={recipe}", f"--tag={broken}", str(tmp_path)]
    subprocess.run(build, check=True)
    try:
        compile_to(project, "broken.yaml", *IN_CLUSTER, f"--image={broken}")
        folder = f"--folder={place / 'broken'}"
        said = run_in_containers(project, place, "broken.yaml", folder, code=1)
    finally:
        subprocess.run(["podman", "rmi", broken], check=True)
    assert "SparkExampleGen      FAILED" in said
    assert "the image has no module pyspark; build it again from kubeflow/Containerfile" in said


@pytest.mark.host
@pytest.mark.slow
def test_no_such_image_and_no_such_volume(project, compiled, place, image) -> None:
    compile_to(project, "nowhere.yaml", *IN_CLUSTER, "--image=localhost/nowhere:1")
    said = run_in_containers(project, place, "nowhere.yaml", code=1)
    assert "podman has no image localhost/nowhere:1; build it as kubeflow/README.md says" in said
    compile_to(project, "volumes.yaml", *IN_CLUSTER)
    done = project.command("-m", "kubeflow.run_local", "volumes.yaml", "--engine=podman", code=1)
    assert "say which folder takes its place by --claim shared=FOLDER" in done.stderr


@pytest.mark.host
@pytest.mark.slow
def test_the_image_needs_no_root_and_no_folder_to_write_but_tmp(image) -> None:
    """Spark, TFX and TensorFlow start as Kubernetes' "restricted" policy wants it."""
    code = (
        "import os, tensorflow, tfx; assert os.getuid() == 1000, os.getuid()\n"
        "from spark_io.jobs.session import spark_environment, spark_session\n"
        "os.environ.update(spark_environment())\n"
        "with spark_session({'master': 'local[1]', 'conf': {}, 'jars': ()}) as spark:\n"
        "    print('rows', spark.range(1000).where('id % 2 = 0').count(), tfx.__version__)"
    )
    command = ["podman", "run", "--rm", "--network=none", "--read-only", "--tmpfs=/tmp:mode=1777"]
    command += ["--cap-drop=all", "--security-opt=no-new-privileges", image, "python", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert "rows 500 1.21.0" in done.stdout, done.stdout + done.stderr


@pytest.mark.host
@pytest.mark.slow
def test_an_application_outside_the_checkout_is_one_more_layer(image: str, tmp_path: Path) -> None:
    (tmp_path / "corner_shop").mkdir()
    (tmp_path / "corner_shop" / "__init__.py").touch()
    (tmp_path / "corner_shop" / "application.py").write_text(
        "from applications.ctr.application import build_examples as build_examples\n"
        "from applications.ctr.application import features as features\n"
    )
    name = "localhost/corner-shop:test"
    built = ["podman", "build", "--build-arg", f"IMAGE={image}", "--tag", name]
    built += ["--file", str(ROOT / "kubeflow/application.Containerfile"), str(tmp_path)]
    subprocess.run(built, check=True, capture_output=True, timeout=600)
    code = "from pipeline.application import load_application as load; "
    code += "print(load('corner_shop').build_examples)"
    run = ["podman", "run", "--rm", "--network=none", name, "python", "-c", code]
    done = subprocess.run(run, check=True, capture_output=True, text=True, timeout=300)
    assert done.stdout == "applications.ctr.etl.build_examples\n"
