"""Several forked workers give the results of one process, listen on loopback, and end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.component

ROOT = Path(__file__).resolve().parents[2]

# In a process of its own: pytest's gRPC and threads are no part of this.
SUMS = """
import json, os, sys, time
import apache_beam as beam, psutil
from apache_beam.options.pipeline_options import PipelineOptions
from local_run import beam_workers

def where(pair):
    time.sleep(0.2)  # so that one worker cannot have done all before the other is there
    main = psutil.Process(int(os.environ["MAIN"]))
    listening = [c.laddr.ip for c in main.net_connections() if c.status == "LISTEN"]
    return {"key": pair[0], "sum": pair[1], "process": os.getpid(), "listening": listening}

def broken(value):
    raise ValueError(f"no good: {value}")

if __name__ == "__main__":
    os.environ["MAIN"] = str(os.getpid())
    os.cpu_count = lambda: 2
    arguments = beam_workers.beam_arguments()
    with beam.Pipeline(options=PipelineOptions(arguments)) as pipeline:
        numbers = pipeline | beam.Create(range(1000)) | beam.Reshuffle()
        if sys.argv[2:]:
            numbers = numbers | beam.Map(broken)
        sums = numbers | beam.Map(lambda n: (n % 20, n)) | beam.CombinePerKey(sum)
        found = sums | beam.Map(where) | beam.Map(json.dumps)
        found | beam.io.WriteToText(sys.argv[1], shard_name_template="")
    print(json.dumps({"arguments": arguments}))
"""

# Elements that take their time to be pickled: 100 of them, for some seconds.
SLOW = """
import json, sys, time
import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from local_run import beam_workers

class Slow:
    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        time.sleep(0.05)
        return (complex, (self.number,))

def made(number):
    return number % 3, Slow(number)

def read(pair):
    return json.dumps([int(value.real) for value in pair[1]])

if __name__ == "__main__":
    with beam.Pipeline(options=PipelineOptions(beam_workers.beam_arguments())) as pipeline:
        numbers = pipeline | beam.Create(range(100)) | beam.Reshuffle()
        groups = numbers | beam.Map(made) | beam.GroupByKey() | beam.Map(read)
        groups | beam.io.WriteToText(sys.argv[1], shard_name_template="")
"""


def run(tmp_path: Path, *arguments: str, program: str = SUMS) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "program.py"
    script.write_text(program)
    command = [sys.executable, str(script), str(tmp_path / "out"), *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="module")
def sums(tmp_path_factory) -> tuple[list[dict[str, Any]], str]:
    folder = tmp_path_factory.mktemp("sums")
    done = run(folder)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (folder / "out").read_text().splitlines()], done.stdout


def test_the_sums_are_right_and_two_processes_made_them(sums) -> None:
    rows, said = sums
    assert {row["key"]: row["sum"] for row in rows} == {
        key: sum(range(key, 1000, 20)) for key in range(20)
    }
    assert len({row["process"] for row in rows}) == 2
    assert "--direct_num_workers=2" in said


def test_beam_listens_on_loopback_only(sums) -> None:
    """Beam's own server listens on all addresses, where anyone could act as a worker."""
    rows, _ = sums
    addresses = {address for row in rows for address in row["listening"]}
    assert {address.removeprefix("::ffff:") for address in addresses} == {"127.0.0.1"}


def test_workers_are_gone_afterwards(sums) -> None:
    import psutil

    rows, _ = sums
    assert not [row["process"] for row in rows if psutil.pid_exists(row["process"])]


def test_an_error_in_a_worker_is_the_error_of_the_pipeline(tmp_path: Path) -> None:
    done = run(tmp_path, "broken")
    assert done.returncode != 0
    assert "no good: " in done.stderr


def test_no_element_is_cut_in_two(tmp_path: Path) -> None:
    """As Beam's flush by time does to those that are being written when the time has come."""
    done = run(tmp_path, program=SLOW)
    assert done.returncode == 0, done.stderr
    groups = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert sorted(number for group in groups for number in group) == [*range(100)]


def test_one_core_needs_no_workers(monkeypatch) -> None:
    from local_run import beam_workers

    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert beam_workers.beam_arguments() == ["--direct_num_workers=1", "--sdk_container_image=none"]
