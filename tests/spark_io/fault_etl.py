"""An ETL in whose tasks, or in whose driver, something goes wrong: for the fault tests.

Its parameters tell what:

    slow          seconds that every batch of every task takes
    faults        partition -> what happens there, once. In the middle of its rows: 'kill' (the
                  Python process that the task runs in kills itself), 'fail' (it raises); before its
                  first row: 'late' (it waits for `seconds`)
    kill_before   the driver kills itself before it makes, opens to write, renames or removes a path
                  that ends like this
    pause         the driver waits before it removes the lock of its staging folder, with Spark
                  still running, until this path exists

A fault, and a driver that will kill itself, leaves a marker file first. Later attempts, of the same
run or of a rerun with the same request, find it and go on undisturbed.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import DataFrame

from spark_io.examples.rows import EtlContext

PARTITIONS = 4
# Python's audit events of what changes a file system; the number of arguments that are paths.
CHANGES = {"open": 1, "os.rename": 2, "os.remove": 1, "os.mkdir": 1, "os.rmdir": 1}


def build(spark: Any, sources: dict[str, DataFrame], context: EtlContext) -> DataFrame:
    """The readings as they are, in four tasks that a fault may hit."""
    parameters = context.parameters
    if "kill_before" in parameters and first_run(parameters):
        kill_this_process(lambda event, paths: paths[-1].endswith(parameters["kill_before"]))
    if "pause" in parameters:
        pause_before_removing_a_lock(Path(parameters["pause"]))
    rows = sources["readings"].select("reading", "sensor", "value")
    rows = rows.repartition(PARTITIONS, "reading")
    if parameters.get("faults") or parameters.get("slow"):
        return rows.mapInArrow(disturbed(parameters), rows.schema)
    return rows


def first_run(parameters: Mapping[str, Any]) -> bool:
    marker = Path(f"{parameters['marker']}-driver")
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def disturbed(
    parameters: Mapping[str, Any],
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """For `mapInArrow`. Everything is inside: not every worker can import this module."""
    faults, slow = parameters.get("faults", {}), parameters.get("slow", 0.0)
    seconds, marker = parameters.get("seconds", 0.0), Path(parameters["marker"])

    def happens_now(partition: int) -> bool:
        try:
            marker.with_name(f"{marker.name}-{partition}").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def pass_on(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        context = TaskContext.get()
        assert context is not None
        partition = context.partitionId()
        fault = faults.get(str(partition))
        for number, batch in enumerate(batches):
            time.sleep(slow)
            if fault and number == (0 if fault == "late" else 15) and happens_now(partition):
                if fault == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                if fault == "fail":
                    raise RuntimeError("the first attempt fails")
                time.sleep(seconds)
                marker.with_name(f"{marker.name}-{partition}-is-over").touch()
            yield batch

    return pass_on


def kill_this_process(at: Callable[[str, list[str]], bool]) -> None:
    """SIGKILL to this process before the first change of a file system for which `at` is true.

    Args:
      at: gets the audit event and its paths; of a removal within an open folder, the bare name.
    """

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in CHANGES or _only_reads(event, arguments):
            return
        if at(event, [str(path) for path in arguments[: CHANGES[event]]]):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def kill_at_step(folder: Path, step: int) -> None:
    """SIGKILL to this process before its `step`-th change below a folder."""
    left = step

    def counts_down(event: str, paths: list[str]) -> bool:
        nonlocal left
        # A bare name: a removal by shutil.rmtree, which works within folders it has opened.
        if paths[0].startswith(str(folder)) or "/" not in paths[0]:
            left -= 1
        return left == 0

    kill_this_process(counts_down)


def pause_before_removing_a_lock(until: Path) -> None:
    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.remove" and str(arguments[0]).endswith(".lock"):
            while not until.exists():
                time.sleep(0.05)

    sys.addaudithook(hook)


def _only_reads(event: str, arguments: tuple[Any, ...]) -> bool:
    return event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR)
