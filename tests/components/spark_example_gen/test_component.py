"""SparkExampleGen in somebody else's pipeline: it and StatisticsGen, with TFX's Beam runner."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from ml_metadata import metadata_store
from tfx.components import StatisticsGen
from tfx.orchestration import metadata
from tfx.orchestration.beam.beam_dag_runner import BeamDagRunner
from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import (
    KubeflowV2DagRunner,
    KubeflowV2DagRunnerConfig,
)
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import range_config_pb2

from base.errors import ComponentError
from components.spark_example_gen import FileSource, SparkConfig, SparkExampleGen

pytestmark = pytest.mark.component

SOURCE = FileSource(
    "json",
    "readings/{YYYY}-{MM}-{DD}/{HH}/*.json.gz",
    {"reading": "bigint", "sensor": "string", "value": "double"},
)
TWO_HOURS = range_config_pb2.RangeConfig(rolling_range=range_config_pb2.RollingRange(num_spans=2))


def write_hours(base: Path) -> None:
    for hour in (0, 1):
        folder = base / "data" / "readings" / "2024-03-01" / f"{hour:02d}"
        folder.mkdir(parents=True)
        with gzip.open(folder / "part-0.json.gz", "wt") as file:
            for number in range(50):
                row = {"reading": 50 * hour + number, "sensor": f"s{number % 7}", "value": 1.0}
                file.write(json.dumps(row) + "\n")


def bare_pipeline(base: Path) -> Pipeline:
    example_gen = SparkExampleGen(
        str(base / "data"),
        {"readings": SOURCE},
        etl="tests.spark_io.sensor_etl.build",
        range_config=TWO_HOURS,
        spark=SparkConfig("local[2]", {"spark.driver.memory": "1g"}),
    )
    return Pipeline(
        pipeline_name="bare",
        pipeline_root=str(base / "root"),
        components=[example_gen, StatisticsGen(examples=example_gen.outputs["examples"])],
        enable_cache=True,
        metadata_connection_config=connection(base),
    )


def connection(base: Path):
    return metadata.sqlite_metadata_connection_config(str(base / "mlmd.sqlite"))


def test_a_bare_pipeline_runs_records_and_caches(tmp_path: Path) -> None:
    write_hours(tmp_path)
    BeamDagRunner().run(bare_pipeline(tmp_path))
    for file in (tmp_path / "data").rglob("*.gz"):
        os.utime(file, (1, 1))  # touched, not changed
    BeamDagRunner().run(bare_pipeline(tmp_path))

    store = metadata_store.MetadataStore(connection(tmp_path))
    (examples,) = store.get_artifacts_by_type("Examples")
    found = examples.custom_properties
    assert found["span"].int_value == 474_793
    assert found["spans"].string_value == "474792-474793"
    assert found["rows_read"].int_value == 100
    assert found["rows_train"].int_value + found["rows_eval"].int_value == 100
    assert len(found["input_fingerprint"].string_value) == 64
    states = [e.last_known_state for e in store.get_executions()]
    assert (states.count(3), states.count(5)) == (2, 2)  # complete, cached

    (tmp_path / "data" / "readings" / "2024-03-01" / "01" / "part-1.json.gz").write_bytes(
        gzip.compress(b'{"reading": 1000, "sensor": "s1", "value": 2.0}\n')
    )
    BeamDagRunner().run(bare_pipeline(tmp_path))
    assert len(store.get_artifacts_by_type("Examples")) == 2


def test_tfx_compiles_it_for_kubeflow_with_the_driver_of_a_file_based_example_gen(
    tmp_path: Path,
) -> None:
    """On Vertex AI the driver chooses the span before the cache is asked."""
    file = tmp_path / "bare.json"
    config = KubeflowV2DagRunnerConfig(default_image="image")
    KubeflowV2DagRunner(config, output_filename=str(file)).run(bare_pipeline(tmp_path))
    executors = json.loads(file.read_text())["pipelineSpec"]["deploymentSpec"]["executors"]
    drivers = {name: "lifecycle" in one["container"] for name, one in executors.items()}
    assert drivers == {"SparkExampleGen_executor": True, "StatisticsGen_executor": False}


def test_the_job_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """SIGKILL of the pipeline: no JVM is left behind, and nothing is published."""
    write_hours(tmp_path)
    module = f"import sys; sys.path[:0] = {sys.path!r}\n"
    script = module + (
        "from pathlib import Path\n"
        "from importlib import util\n"
        f"spec = util.spec_from_file_location('t', {__file__!r})\n"
        "t = util.module_from_spec(spec); spec.loader.exec_module(t)\n"
        f"t.BeamDagRunner().run(t.bare_pipeline(Path({str(tmp_path)!r})))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script])
    children: list[psutil.Process] = []
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not any("java" in c.name() for c in children):
        time.sleep(0.2)
        children = psutil.Process(parent.pid).children(recursive=True)
    assert any("java" in child.name() for child in children)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []
    published = [p for p in (tmp_path / "root").rglob("Split-*") if ".staging-" not in str(p)]
    assert published == []


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"sources": {}}, ValueError, "at least one source"),
        (
            {"sources": {"r": FileSource("parquet", "a/{SPAN}/*", spans_after=1)}},
            ValueError,
            "not for the primary source",
        ),
        ({"etl": "nowhere.at.all"}, ComponentError, "cannot be found"),
        ({"max_quarantine_fraction": 2}, ValueError, "between 0 and 1"),
    ],
)
def test_mistakes_are_found_when_the_pipeline_is_built(changes, error, message) -> None:
    arguments = {"sources": {"r": SOURCE}, "etl": "tests.spark_io.sensor_etl.build"} | changes
    with pytest.raises(error, match=message):
        SparkExampleGen("/data", **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("xml", "a/*.xml"), "format must be one of"),
        (("csv", "a/*.csv"), "needs `columns`"),
        (("parquet", "/etc/x"), "must be relative"),
        (("parquet", "../x"), "must be relative"),
    ],
)
def test_a_source_is_checked_when_it_is_made(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        FileSource(*arguments)


def test_no_java_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spark_io.jobs import parent, session
    from spark_io.jobs.java import JavaNotFoundError

    def none(*unused: object) -> None:
        raise JavaNotFoundError("no Java 17; install openjdk-17-jre-headless")

    monkeypatch.setattr(session, "find_java", none)
    with pytest.raises(ComponentError, match="install openjdk-17"):
        parent.child_environment()
