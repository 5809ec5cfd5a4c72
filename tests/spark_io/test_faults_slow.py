"""Never lost, never doubled, the long way: every phase, a storm of kills, speculation, spills."""

from __future__ import annotations

import dataclasses
import json
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from base.errors import ComponentError
from spark_io.example_job_process import run_job
from tests.spark_io.job_runs import (
    Rows,
    forget_that_locks_are_young,
    left_over,
    nothing_is_visible,
    published_rows,
    request,
    started,
    visible,
    wait_until,
    workers_that_write,
)
from tests.spark_io.two_hosts import HOSTS, two_hosts

pytestmark = pytest.mark.slow

STORM = 15


def rerun(out: Path, wanted) -> None:
    """As it was run before: in a process of its own."""
    with started(wanted, out.parent) as run:
        answer = run.wait()
    assert answer and "manifest" in answer, answer


@pytest.mark.parametrize("phase", ["starting Spark", "reading", "read ", "transforming"])
def test_a_job_killed_when_it_announces_a_phase(
    data: Path, undisturbed: Rows, out: Path, phase: str
) -> None:
    wanted = request(data, out)
    with started(wanted, out.parent) as run:
        run.wait_for_phase(phase)
        run.kill()
        assert run.still_alive() == []
    assert nothing_is_visible(out)
    rerun(out, wanted)
    assert published_rows(out) == undisturbed
    assert left_over(out) == []


@pytest.mark.parametrize(
    ("step", "is_published"),
    [
        ("data_tfrecord-00002-of-00004.gz", False),
        ("manifest.json", False),
        ("out/quarantine", False),
        ("out/examples", False),
        (".lock", True),
        ("answer.json", True),
    ],
)
def test_a_job_killed_while_it_publishes(
    data: Path, undisturbed: Rows, out: Path, step: str, is_published: bool
) -> None:
    wanted = request(data, out, kill_before=step)
    with started(wanted, out.parent) as run:
        assert run.wait() is None
        assert run.driver.returncode == -signal.SIGKILL
        assert run.still_alive() == []
    assert bool(visible(out / "examples")) == is_published
    forget_that_locks_are_young(out)
    rerun(out, wanted)
    assert published_rows(out) == undisturbed
    assert left_over(out) == []


def test_the_pipeline_gets_one_line_about_a_job_that_was_killed(data: Path, out: Path) -> None:
    wanted = request(data, out, kill_before="manifest.json")
    with pytest.raises(ComponentError, match=r"^the Spark job was killed \(signal 9\)"):
        run_job({"run": dataclasses.asdict(wanted)})


def test_a_storm_of_kills(data: Path, undisturbed: Rows, out: Path) -> None:
    """The same job killed at random times, again and again, before it may come to its end."""
    wanted = request(data, out, slow=0.02)
    before = time.monotonic()
    rerun(out.parent / "calm" / "out", request(data, out.parent / "calm" / "out", slow=0.02))
    lasts = time.monotonic() - before
    chance = random.Random(11)
    kills = 0
    for _ in range(STORM):
        with started(wanted, out.parent) as run:
            time.sleep(chance.uniform(0.2, 1.05) * lasts)
            if run.driver.poll() is None:
                run.kill()
                kills += 1
            assert run.still_alive() == []
        assert not visible(out / "examples") or published_rows(out) == undisturbed
        if visible(out / "examples"):
            rerun(out, wanted)
            out = fresh(out)
            wanted = request(data, out, slow=0.02)
    assert kills > STORM // 2
    forget_that_locks_are_young(out)
    rerun(out, wanted)
    assert published_rows(out) == undisturbed
    assert left_over(out) == []


def fresh(out: Path) -> Path:
    (out.parent / "next" / "out" / "examples").mkdir(parents=True)
    return out.parent / "next" / "out"


def test_an_encoding_worker_that_is_killed_from_outside(
    data: Path, undisturbed: Rows, out: Path
) -> None:
    with started(request(data, out, "local[2,3]", slow=0.05), out.parent) as run:
        run.wait_for_phase("transforming")
        (worker,) = wait_until(lambda: workers_that_write("00000", run.processes()["python"]))
        worker.kill()
        wait_until(lambda: len(run.attempts().get("00000", ())) == 2)
        answer = run.wait()
    assert answer and "manifest" in answer, answer
    assert published_rows(out) == undisturbed
    assert left_over(out) == []


SPECULATION = {
    "spark.speculation": "true",
    "spark.speculation.interval": "100ms",
    "spark.speculation.multiplier": "1.1",
    "spark.speculation.quantile": "0.5",
    "spark.speculation.minTaskRuntime": "100ms",
    "spark.python.task.killTimeout": "120s",  # the attempt that lost lives on
    "spark.driver.host": HOSTS[0],
    "spark.driver.bindAddress": HOSTS[0],
    "spark.executor.memory": "512m",
    "spark.ui.enabled": "false",
    "spark.eventLog.enabled": "true",
}


def test_a_speculative_copy_overtakes_a_worker_that_stands_still(
    data: Path, undisturbed: Rows, out: Path
) -> None:
    """The first attempt of partition 0 is stopped in the middle of its rows, its copy on the other
    host is published, and then the first attempt writes on: while the job still holds Spark.
    """
    events, go_on = out.parent / "events", out.parent / "go-on"
    events.mkdir()
    conf = {**SPECULATION, "spark.eventLog.dir": events.as_uri()}
    with two_hosts(out.parent / "cluster") as cluster:
        wanted = request(data, out, cluster.url, slow=0.1, pause=str(go_on), conf=conf)
        with started(wanted, out.parent) as run:
            run.wait_for_phase("transforming")
            (slow_one,) = wait_until(lambda: workers_that_write("00000", cluster.processes()))
            slow_one.suspend()
            wait_until(lambda: len(run.attempts().get("00000", ())) == 2)
            wait_until(lambda: visible(out / "examples"))
            assert workers_that_write("00000", [slow_one])
            at_publishing = everything_below(out)
            slow_one.resume()
            wait_until(lambda: not workers_that_write("00000", [slow_one]))
            time.sleep(1)
            assert everything_below(out) <= at_publishing
            go_on.touch()
            answer = run.wait()
    assert answer and "manifest" in answer, answer
    assert published_rows(out) == undisturbed
    assert left_over(out) == []
    assert any(task["Index"] == 0 and task["Speculative"] for task in tasks_started(events))


def everything_below(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def tasks_started(events: Path) -> list[dict]:
    """Of Spark's event log."""
    lines = [line for log in events.iterdir() for line in log.read_text().splitlines()]
    entries = [json.loads(line) for line in lines]
    return [e["Task Info"] for e in entries if e["Event"] == "SparkListenerTaskStart"]


@pytest.fixture
def small_scratch_disk(tmp_path: Path) -> Iterator[Path]:
    """Spark's local folder on a file system of 400 KiB (needs root)."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_scratch_disk_is_one_line_and_after_it_is_enlarged_the_rerun_is_right(
    data: Path, undisturbed: Rows, out: Path, small_scratch_disk: Path
) -> None:
    """Spark's shuffle does not fit."""
    wanted = request(data, out, conf={"spark.local.dir": str(small_scratch_disk)})
    with started(wanted, out.parent) as run:
        answer = run.wait()
    assert answer and answer["error"].startswith("the disk is full; free space"), answer
    assert "\n" not in answer["error"]
    assert nothing_is_visible(out)
    assert left_over(out) == []
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_scratch_disk)], check=True)
    rerun(out, wanted)
    assert published_rows(out) == undisturbed
