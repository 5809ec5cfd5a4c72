"""SparkExampleGen on YARN: in its queue, from HDFS, and the queue's limit."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyspark
import pytest
from pyspark.sql import SparkSession

from dev_services.hdfs import Hdfs
from dev_services.yarn import MEMORY_MB, OTHERS, TRAINING, Yarn, yarn
from tests.spark_io.job_runs import (
    ROWS,
    RunningJob,
    request,
    wait_until,
    write_numbered_readings,
)

pytestmark = pytest.mark.integration

# The jars are on every node already; memory is what the smallest executor takes.
CONF = {
    "spark.yarn.jars": f"local:{Path(pyspark.__file__).parent}/jars/*",
    "spark.executor.memory": "512m",
    "spark.yarn.am.memory": "512m",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, hdfs_service: Hdfs) -> Iterator[Yarn]:
    folder = tmp_path_factory.mktemp("yarn")
    with yarn(folder, hdfs_service.url) as found, pytest.MonkeyPatch.context() as patched:
        for name, value in found.environment().items():
            patched.setenv(name, value)
        yield found


@pytest.fixture(scope="module")
def readings(
    tmp_path_factory: pytest.TempPathFactory, spark: SparkSession, hdfs_service: Hdfs
) -> str:
    """The folder with the readings, in HDFS."""
    here = tmp_path_factory.mktemp("readings")
    write_numbered_readings(here)
    base = f"{hdfs_service.url}/yarn"
    jvm: Any = spark.sparkContext._jvm
    path, conf = jvm.org.apache.hadoop.fs.Path, spark.sparkContext._jsc.hadoopConfiguration()
    target = path(f"{base}/readings")
    target.getFileSystem(conf).copyFromLocalFile(path(str(here / "readings")), target)
    return base


def job_in(queue: str, base: str, out: Path, executors: int = 1) -> RunningJob:
    conf = {
        **CONF,
        "spark.yarn.queue": queue,
        "spark.executor.instances": str(executors),
        "spark.executorEnv.PYTHONPATH": os.pathsep.join(sys.path),  # our code is on every node
    }
    wanted = request(Path(), out, "yarn", conf=conf)
    inputs = dataclasses.replace(wanted.inputs, input_base=base)
    return RunningJob(dataclasses.replace(wanted, inputs=inputs), out / "job")


@pytest.mark.slow
def test_the_queue_is_the_limit_and_others_keep_their_share(
    cluster: Yarn, readings: str, tmp_path: Path
) -> None:
    """A greedy job asks for more than the cluster has; one in the other queue runs beside it."""
    greedy = job_in(TRAINING, readings, tmp_path / "greedy", executors=20)
    try:
        wait_until(lambda: cluster.memory_mb(TRAINING) > MEMORY_MB / 4, 120)
        modest = job_in(OTHERS, readings, tmp_path / "modest")
        try:
            most, others = 0, 0
            while modest.driver.poll() is None:
                most = max(most, cluster.memory_mb(TRAINING))
                others = max(others, cluster.memory_mb(OTHERS))
            answer = modest.wait()
        finally:
            modest.end()
        greedy_answer = greedy.wait()
    finally:
        greedy.end()
    assert MEMORY_MB / 4 < most <= MEMORY_MB / 2
    assert others > 0
    for done in (answer, greedy_answer):
        assert done is not None
        assert "error" not in done, done["error"]
        assert done["manifest"]["rows"]["read"] == ROWS + 1
        assert done["manifest"]["rows"]["quarantined"] == 1


def test_a_queue_that_does_not_exist_is_named(cluster: Yarn, readings: str, tmp_path: Path) -> None:
    job = job_in("ai-trainign", readings, tmp_path / "out")
    try:
        answer = job.wait()
    finally:
        job.end()
    assert answer is not None
    assert "ai-trainign" in answer["error"]
    assert "queue" in answer["error"]
    assert "Traceback" not in answer["error"]
