"""Publishing in processes that are killed, each a step later; needs no Spark.

python killed_publish.py DATA OUT
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from pathlib import Path

from spark_io.examples import shards
from spark_io.publishing import publish
from spark_io.publishing.staging import staging_folder
from tests.spark_io import fault_etl

# The undisturbed run's shards, as its tasks would have written them; 00002-9 did not count.
WRITTEN = {
    "train": {"00000-1.gz": 40, "00001-2.gz": 25, "00002-9.gz": 13},
    "eval": {"00000-1.gz": 11},
}
COUNTED = ("00000-1.gz", "00001-2.gz")
MANIFEST = {
    "input_fingerprint": "a4f0",
    "rows": {"splits": {"train": 65, "eval": 11}, "quarantined": 1},
}
STRAY = "00002-9.gz"


def publish_killed_at_every_step(data: Path, out: Path) -> int:
    """Publishes into out/1, killed before its first change there; into out/2, killed before the
    second; and so on, until one comes to its end, whose number is returned.
    """
    for step in itertools.count(1):
        (out / f"{step}" / "examples").mkdir(parents=True)  # as TFX does
        if (child := os.fork()) == 0:
            fault_etl.kill_at_step(out / f"{step}", step)
            publish_all(data, out / f"{step}")
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
        if status == 0:
            return step
    raise AssertionError("not reached")


def publish_all(data: Path, out: Path) -> None:
    """What a job does from the staging folder on.

    Args:
      data: holds split/file for WRITTEN, and report.json.
      out: of both artifacts.
    """
    examples = out / "examples"
    with staging_folder(examples) as staging:
        if publish.published_manifest(examples, {"input_fingerprint": "a4f0"}) is None:
            report = write_attempts(data, staging / publish.ATTEMPTS)
            publish.publish(staging, report, MANIFEST, examples, out / "quarantine")


def write_attempts(data: Path, attempts: Path) -> publish.TaskReport:
    """Puts there what tasks would have written, the attempt that did not count included."""
    report = json.loads((data / "report.json").read_text())
    for split, files in WRITTEN.items():
        (attempts / split).mkdir(parents=True)
        for file in files:
            (attempts / split / file).write_bytes((data / split / file).read_bytes())
    (attempts / shards.REJECTED).mkdir()
    for file in (COUNTED[0], STRAY):
        (attempts / shards.REJECTED / file).write_bytes((data / "refused.gz").read_bytes())
    return publish.TaskReport(report, COUNTED[:1], {"readings": {"unparseable": 1}}, {})


if __name__ == "__main__":
    print(publish_killed_at_every_step(Path(sys.argv[1]), Path(sys.argv[2])))
