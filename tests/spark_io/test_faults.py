"""Never lost, never doubled: jobs that are killed, and what is there before and after a rerun.

Real processes, real SIGKILL, real Spark. What takes longer is in test_faults_slow.py.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import google_crc32c
import pytest
import tensorflow as tf
from pyspark.sql import SparkSession

from spark_io.examples import shards
from spark_io.publishing import publish
from spark_io.publishing.staging import staging_folder
from tests.spark_io import killed_publish
from tests.spark_io.job_runs import (
    ROWS,
    Rows,
    RunningJob,
    forget_that_locks_are_young,
    left_over,
    nothing_is_visible,
    published_rows,
    quarantined_records,
    request,
    run_here,
    started,
    visible,
    wait_until,
)
from tests.spark_io.readings import failure
from tests.spark_io.two_hosts import two_hosts

pytestmark = pytest.mark.component


# The manifest


def test_the_manifest_has_the_rows_bytes_and_checksum_of_every_file(undisturbed: Rows) -> None:
    """`published_rows` has read each file with tf.data and compared."""
    rows = undisturbed["train"] + undisturbed["eval"]
    numbers = [
        tf.train.Example.FromString(row).features.feature["reading"].int64_list.value[0]
        for row in rows.elements()
    ]
    assert sorted(numbers) == list(range(ROWS))


# Publishing, killed at every step


def example(text: str) -> bytes:
    value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()]))
    return tf.train.Example(features=tf.train.Features(feature={"text": value})).SerializeToString()


@pytest.fixture(scope="module")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What tasks have written and reported."""
    data = tmp_path_factory.mktemp("attempts")
    report: dict[str, list[dict]] = {}
    for split, files in killed_publish.WRITTEN.items():
        (data / split).mkdir()
        report[split] = []
        for file, rows in files.items():
            with tf.io.TFRecordWriter(str(data / split / file), "GZIP") as writer:
                for row in range(rows):
                    writer.write(example(f"{split} {file} {row}"))
            content = (data / split / file).read_bytes()
            facts = {"bytes": len(content), "crc32c": f"{google_crc32c.value(content):08x}"}
            if file in killed_publish.COUNTED:
                report[split].append({"file": file, "rows": rows, **facts})
    (data / "refused.gz").write_bytes(b"a refused record")
    (data / "report.json").write_text(json.dumps(report))
    return data


def test_a_kill_at_any_step_of_publishing_leaves_all_or_nothing(
    attempts: Path, tmp_path: Path
) -> None:
    killed_publish.publish_all(attempts, tmp_path / "whole")
    whole = published_rows(tmp_path / "whole")
    done = subprocess.run(
        [sys.executable, killed_publish.__file__, str(attempts), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    steps = int(done.stdout)
    assert steps > 30
    for step in range(1, steps + 1):
        out = tmp_path / f"{step}"
        assert not visible(out / "examples") or published_rows(out) == whole, f"step {step}"
        forget_that_locks_are_young(out)

        killed_publish.publish_all(attempts, out)
        assert published_rows(out) == whole, f"step {step}"
        assert visible(out / "quarantine") == ["records", "summary.json"]
        assert visible(out / "quarantine" / "records") == ["00000-1.gz"]
        assert left_over(out) == [], f"step {step}"


def test_a_staging_folder_in_use_is_not_removed(out: Path) -> None:
    with staging_folder(out / "examples") as mine:
        with staging_folder(out / "examples") as other:
            assert mine.exists()
        assert mine.exists()
        assert not other.exists()
    assert left_over(out) == []


def test_a_folder_that_a_task_made_anew_is_removed(out: Path) -> None:
    """It has no lock: that came before the folder, and went after it."""
    (out / ".examples.staging-0a1b2c3d" / "attempts" / "train").mkdir(parents=True)
    with staging_folder(out / "examples") as mine:
        assert left_over(out) == [mine.name, f"{mine.name}.lock"]


def test_an_attempt_that_goes_on_after_publishing_adds_nothing(attempts: Path, out: Path) -> None:
    with staging_folder(out / "examples") as staging:
        tasks = staging / publish.ATTEMPTS
        report = killed_publish.write_attempts(attempts, tasks)
        with (tasks / "train" / "00003-8.gz").open("wb") as straggler:
            publish.publish(
                staging, report, killed_publish.MANIFEST, out / "examples", out / "quarantine"
            )
            straggler.write(b"too late")
        (tasks / "eval" / "00003-8.gz").write_bytes(b"too late")
        (tasks / shards.REJECTED / "00003-8.json.gz").write_bytes(b"too late")
    published_rows(out)
    assert visible(out / "quarantine") == ["records", "summary.json"]
    assert visible(out / "quarantine" / "records") == ["00000-1.gz"]
    assert left_over(out) == []


def test_what_is_published_is_never_replaced(data: Path, spark: SparkSession, out: Path) -> None:
    """A rerun after a kill that came too late gets the same answer; another run is refused."""
    first = run_here(spark, request(data, out))
    shards = {p: p.stat().st_mtime_ns for p in out.rglob("*.gz")}
    assert run_here(spark, request(data, out)) == first
    message = failure(run_here, spark=spark, wanted=request(data, out, another=1))
    assert message == f"{out}/examples holds the result of another run, which is never replaced"
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*.gz")} == shards


# The job, killed


def test_a_job_killed_in_the_middle_of_its_tasks(
    data: Path, undisturbed: Rows, spark: SparkSession, out: Path
) -> None:
    wanted = request(data, out, slow=0.05)
    with started(wanted, out.parent) as run:
        run.wait_for_phase("transforming and encoding")
        run.wait_for_shards()
        run.kill()
        assert run.still_alive() == []
    assert nothing_is_visible(out)
    run_here(spark, wanted)
    assert published_rows(out) == undisturbed
    assert len(quarantined_records(out)) == 1
    assert left_over(out) == []


def test_the_jvm_ends_with_a_python_driver_that_is_killed(
    data: Path, undisturbed: Rows, spark: SparkSession, out: Path
) -> None:
    wanted = request(data, out)
    with started(wanted, out.parent) as run:
        run.wait_for_phase("reading")
        assert run.processes()["jvm"]
        run.driver.kill()
        assert run.still_alive() == []
    assert nothing_is_visible(out)
    run_here(spark, wanted)
    assert published_rows(out) == undisturbed
    assert left_over(out) == []


def test_a_jvm_that_is_killed_is_one_line(data: Path, out: Path) -> None:
    with started(request(data, out, slow=0.05), out.parent) as run:
        run.wait_for_phase("transforming and encoding")
        run.wait_for_shards()
        (jvm,) = run.processes()["jvm"]
        jvm.kill()
        answer = run.wait()
        assert run.still_alive() == []
    assert answer and answer["error"].startswith("Spark's JVM was killed or ran out of memory")
    assert nothing_is_visible(out)
    assert left_over(out) == []


# Tasks that are killed, fail, or lag behind


def was_tried_twice(run: RunningJob, partition: str) -> bool:
    return len(run.attempts().get(partition, ())) == 2


def test_tasks_that_are_tried_again_publish_their_rows_once(
    data: Path, undisturbed: Rows, out: Path
) -> None:
    """One task's Python worker is killed and another task raises, each in the middle of its rows,
    with shards begun.
    """
    faults = {"0": "kill", "1": "fail"}
    with started(request(data, out, "local[2,3]", faults=faults, slow=0.02), out.parent) as run:
        for partition in ("00000", "00001"):
            wait_until(functools.partial(was_tried_twice, run, partition))
        answer = run.wait()
    assert answer and "manifest" in answer
    assert published_rows(out) == undisturbed
    assert left_over(out) == []


def test_a_worker_that_is_killed_is_one_line_where_tasks_are_tried_once(
    data: Path, undisturbed: Rows, spark: SparkSession, out: Path
) -> None:
    wanted = request(data, out, faults={"0": "kill"})
    message = failure(run_here, spark=spark, wanted=wanted)
    assert message.startswith("a Python process of a Spark task was killed or ran out of memory")
    assert nothing_is_visible(out)
    run_here(spark, wanted)
    assert published_rows(out) == undisturbed


def test_a_task_that_outlives_its_failed_run_leaves_nothing_behind(
    data: Path, spark: SparkSession, out: Path
) -> None:
    """It comes to its first row when the staging folder is gone."""
    wanted = request(data, out, faults={"0": "late", "1": "fail"}, seconds=1.5)
    message = failure(run_here, spark=spark, wanted=wanted)
    fault = "tests/spark_io/fault_etl.py"
    assert re.fullmatch(
        "Python code in a Spark task failed: RuntimeError: the first attempt fails "
        rf"\({fault}, line \d+\)",
        message,
    )
    wait_until((out.parent / "fault-0-is-over").exists)
    time.sleep(1)
    assert nothing_is_visible(out)
    assert left_over(out) == []


# A full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The artifacts on a file system of 300 KiB (needs root, as in our containers and CI)."""
    folder = tmp_path / "out"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_after_a_full_disk_is_enlarged_the_rerun_is_right(
    data: Path, undisturbed: Rows, spark: SparkSession, small_disk: Path
) -> None:
    wanted = request(data, small_disk)
    message = failure(run_here, spark=spark, wanted=wanted)
    assert message.startswith("the disk is full; free space")
    assert "\n" not in message
    assert nothing_is_visible(small_disk)
    assert left_over(small_disk) == []
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    run_here(spark, wanted)
    assert published_rows(small_disk) == undisturbed


# Workers elsewhere


def test_workers_that_do_not_see_the_artifacts_are_named(data: Path, tmp_path: Path) -> None:
    """As on Kubernetes from a step of Kubeflow: executors are pods with another root folder."""
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir()
    with two_hosts(tmp_path / "cluster", hidden=artifacts) as cluster:
        wanted = request(data, artifacts / "out", cluster.url)
        with started(wanted, tmp_path) as run:
            answer = run.wait()
    assert answer
    assert "Spark's worker on " in answer["error"]
    assert "under the same path on all of Spark's hosts" in answer["error"]
    assert nothing_is_visible(artifacts / "out")
    assert left_over(artifacts / "out") == []
