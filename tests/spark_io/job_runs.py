"""Jobs of SparkExampleGen that are started to be killed, and what they leave behind."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import google_crc32c
import psutil
import tensorflow as tf
from pyspark.sql import SparkSession

from base.atomic_files import write_json
from spark_io import example_job as job
from spark_io.jobs import child
from spark_io.jobs.parent import child_environment
from spark_io.publishing.publish import ATTEMPTS
from spark_io.publishing.staging import staging_folder
from spark_io.sources.source_types import SparkConfig, sources_to_json
from tests.spark_io.readings import READINGS

ROWS = 6_000
# Each of the four tasks gets some 30 batches, and more bytes than the pipes between its Python
# processes hold: rows are encoded, and lie in shards, when half of them have come.
SMALL_BATCHES = {"spark.sql.execution.arrow.maxRecordsPerBatch": "50"}
Rows = dict[str, Counter[bytes]]
Found = TypeVar("Found")


def write_numbered_readings(base: Path) -> None:
    """ROWS of them, and one line that ends in quarantine."""
    chance = random.Random(3)
    (base / "readings").mkdir(parents=True)
    with gzip.open(base / "readings" / "a.json.gz", "wt") as file:
        for number in range(ROWS):
            row = {"reading": number, "sensor": chance.randbytes(100).hex(), "value": number / 7}
            file.write(json.dumps(row) + "\n")
        file.write('{"reading": 1, "sen\n')


def request(data: Path, out: Path, master: str = "local[2]", **parameters: Any) -> job.JobRequest:
    """A job over the readings in `data`; `parameters` are fault_etl's, and `conf` Spark's."""
    conf = {"spark.driver.memory": "1g", **SMALL_BATCHES, **parameters.pop("conf", {})}
    return job.JobRequest(
        inputs=job.InputRequest(
            input_base=str(data),
            sources=sources_to_json({"readings": READINGS}),
            length=1,
            last=None,
            decided={},
            fingerprint=None,
            spark=dataclasses.asdict(SparkConfig(master, conf)),
        ),
        etl="tests.spark_io.fault_etl.build",
        etl_parameters={"marker": str(out.parent / "fault"), **parameters},
        etl_code_sha256="",
        splits={"names": ["train", "eval"], "buckets": [2, 1], "feature": None},
        row_accounting="exact",
        max_quarantine_fraction=0.5,
        examples_uri=str(out / "examples"),
        quarantine_uri=str(out / "quarantine"),
    )


def run_here(spark: SparkSession, wanted: job.JobRequest) -> dict[str, Any]:
    """Runs the job on the tests' own session; that is `local[2]`."""
    for key, value in SMALL_BATCHES.items():
        spark.conf.set(key, value)
    try:
        with staging_folder(Path(wanted.examples_uri)) as staging:
            return job.run_in(spark, staging, wanted)
    finally:
        for key in SMALL_BATCHES:
            spark.conf.unset(key)


class RunningJob:
    """`python -m spark_io.example_job`, in a session of its own."""

    def __init__(self, wanted: job.JobRequest, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "request.json"
        self.answer_path = folder / child.ANSWER
        self.answer_path.unlink(missing_ok=True)
        write_json(path, {"run": dataclasses.asdict(wanted)})
        self._out = Path(wanted.examples_uri).parent
        self.lines: list[str] = []
        self._phases: queue.Queue[str | None] = queue.Queue()
        self.driver = psutil.Popen(
            [sys.executable, "-m", job.__name__, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=child_environment(),
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._seen: dict[int, psutil.Process] = {}
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        for line in self.driver.stdout:
            self.lines.append(line.rstrip())
            if line.startswith(child.PROGRESS):
                self._phases.put(line[len(child.PROGRESS) :])
        self._phases.put(None)

    def wait_for_phase(self, phase: str) -> None:
        """Until the job announces it."""
        while (said := self._phases.get(timeout=120)) is not None:
            if said.startswith(phase):
                return
        raise AssertionError(f"the job ended before '{phase}':\n" + "\n".join(self.lines[-30:]))

    def wait_for_shards(self) -> None:
        """Until tasks have begun to write."""
        wait_until(lambda: self.attempts() or self.driver.poll() is not None)
        assert self.driver.poll() is None, "\n".join(self.lines[-30:])

    def attempts(self) -> dict[str, set[str]]:
        """Partition -> the task attempts that have shards in the staging folder."""
        found: dict[str, set[str]] = {}
        for path in self._out.glob(f".examples.staging-*/{ATTEMPTS}/*/*.gz"):
            partition, attempt = path.name.split(".")[0].split("-")[:2]
            found.setdefault(partition, set()).add(attempt)
        return found

    def processes(self) -> dict[str, list[psutil.Process]]:
        """'driver', 'jvm' and 'python' (pyspark's daemon and workers), as far as they live."""
        found: dict[str, list[psutil.Process]] = {"driver": [], "jvm": [], "python": []}
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in [self.driver, *self.driver.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    kind = "jvm" if "java" in process.name() else "python"
                    found["driver" if process == self.driver else kind].append(process)
                    self._seen[process.pid] = process
        return found

    def kill(self) -> None:
        """SIGKILL to the Python driver and its JVM at once."""
        self.processes()
        os.killpg(self.driver.pid, signal.SIGKILL)
        self.driver.wait()

    def wait(self, seconds: float = 120) -> dict[str, Any] | None:
        """The answer; None when there is none."""
        self.driver.wait(seconds)
        return json.loads(self.answer_path.read_text()) if self.answer_path.exists() else None

    def still_alive(self, seconds: float = 15) -> list[psutil.Process]:
        """Processes of this job that are left after a while."""
        return psutil.wait_procs(list(self._seen.values()), timeout=seconds)[1]

    def end(self) -> None:
        """For a test that failed: nothing is left running."""
        self.processes()
        for process in self._seen.values():
            with contextlib.suppress(psutil.Error):
                process.kill()


def workers_that_write(partition: str, among: Iterable[psutil.Process]) -> list[psutil.Process]:
    """The processes that have a shard of this partition open, be it one that is removed already."""
    return [process for process in among if f"/{partition}-" in " ".join(open_shards(process))]


def open_shards(process: psutil.Process) -> list[str]:
    paths = []
    for descriptor in Path(f"/proc/{process.pid}/fd").glob("*"):
        with contextlib.suppress(OSError):
            paths.append(str(descriptor.readlink()))
    return [path for path in paths if f"/{ATTEMPTS}/" in path]


@contextlib.contextmanager
def started(wanted: job.JobRequest, folder: Path) -> Iterator[RunningJob]:
    run = RunningJob(wanted, folder)
    try:
        yield run
    finally:
        run.end()


def wait_until(condition: Callable[[], Found], seconds: float = 60) -> Found:
    """What `condition` gives, once it gives something."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return found


def visible(folder: Path) -> list[str]:
    """What a reader would find in an artifact's folder."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def nothing_is_visible(out: Path) -> bool:
    return visible(out / "examples") == visible(out / "quarantine") == []


def left_over(out: Path) -> list[str]:
    """Everything beside the two artifacts, hidden or not."""
    return sorted(p.name for p in out.iterdir() if p.name not in ("examples", "quarantine"))


def forget_that_locks_are_young(out: Path) -> None:
    """A lock without its folder is let alone for a minute: its process may just have started."""
    for lock in out.glob(".*.lock"):
        if not lock.with_suffix("").exists():
            subprocess.run(["touch", "--date=2 minutes ago", str(lock)], check=True)


def published_rows(out: Path) -> Rows:
    """Split -> row -> how often it is there; and the manifest has to be true."""
    manifest = json.loads((out / "examples" / "manifest.json").read_text())
    assert visible(out / "examples") == sorted(
        [*[f"Split-{split}" for split in manifest["splits"]], "manifest.json"]
    )
    rows: Rows = {}
    for split, files in manifest["splits"].items():
        folder = out / "examples" / f"Split-{split}"
        assert visible(folder) == [entry["file"] for entry in files]
        rows[split] = Counter()
        for entry in files:
            content = (folder / entry["file"]).read_bytes()
            records = records_of(folder / entry["file"])
            assert entry["bytes"] == len(content)
            assert entry["crc32c"] == f"{google_crc32c.value(content):08x}"
            assert entry["rows"] == len(records)
            rows[split].update(map(in_order, records))
        assert rows[split].total() == manifest["rows"]["splits"][split]
    return rows


def in_order(record: bytes) -> bytes:
    """The example with its features in a fixed order; the encoder's differs between processes."""
    return tf.train.Example.FromString(record).SerializeToString(deterministic=True)


def records_of(path: Path) -> list[bytes]:
    dataset = tf.data.TFRecordDataset(str(path), compression_type="GZIP")
    return list(dataset.as_numpy_iterator())


def quarantined_records(out: Path) -> list[dict[str, Any]]:
    lines = []
    for path in (out / "quarantine" / "records").iterdir():
        lines += [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    return lines
