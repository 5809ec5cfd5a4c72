"""What every benchmark shares: processes that are timed and watched, the machine, the result."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
_MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a candidate: what it reports of itself, and the peak memory of its processes.

    Attributes:
      answer: JSON that the candidate printed as its last line of stdout.
      peak_mib: largest sum of resident memory over all of its processes.
      worker_mib: largest resident memory of a single Python process of Spark's.
    """

    answer: dict[str, Any]
    peak_mib: float
    worker_mib: float


def run_candidate(module: str, arguments: dict[str, Any]) -> Run:
    """Runs `python -m MODULE JSON` and returns what its last line says.

    Raises:
      RuntimeError: it failed; with the end of its output.
    """
    # Python may still complain on stderr while it exits, after the last line of stdout.
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(arguments)],
            stdout=output,
            stderr=errors,
            cwd=ROOT,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
        )
        with Watch(process.pid) as memory:
            process.wait()
        for file in (output, errors):
            file.seek(0)
        text, complaints = output.read(), errors.read()
    if process.returncode:
        raise RuntimeError(f"{module} {arguments} failed:\n{text[-3000:]}\n{complaints[-3000:]}")
    return Run(json.loads(text.strip().splitlines()[-1]), memory.peak_mib, memory.worker_mib)


class Watch(threading.Thread):
    """Looks at the memory of a process and its children ten times a second, while it lasts.

    Attributes:
      now_mib, peak_mib: resident memory of all of them.
      worker_mib: largest of a single Python process of Spark's.
    """

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self._going = True
        self.now_mib = self.peak_mib = self.worker_mib = 0.0

    def run(self) -> None:
        while self._going:
            total = 0.0
            for process in self._family():
                try:
                    resident = process.memory_info().rss / _MIB
                    total += resident
                    if "pyspark.daemon" in " ".join(process.cmdline()):
                        self.worker_mib = max(self.worker_mib, resident)
                except psutil.Error:
                    continue
            self.now_mib, self.peak_mib = total, max(self.peak_mib, total)
            time.sleep(0.1)

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._going = False
        self.join()

    def _family(self) -> list[psutil.Process]:
        try:
            return [self._process, *self._process.children(recursive=True)]
        except psutil.Error:
            return []


def machine() -> dict[str, Any]:
    """Where and when this is measured."""
    versions = {}
    for package in ("tfx", "pyspark", "pyarrow", "numpy", "tensorflow"):
        from importlib.metadata import version

        versions[package] = version(package)
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / (1 << 30), 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": versions,
        "date": dt.datetime.now(dt.timezone.utc).isoformat(timespec="minutes"),
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def alternate(
    candidates: Mapping[str, Callable[[], Run]], repeats: int, say: Callable[[str], None]
) -> dict[str, list[Run]]:
    """Runs the candidates in turns, so that a slow minute of the machine hits all of them."""
    runs: dict[str, list[Run]] = {name: [] for name in candidates}
    for turn in range(repeats):
        for name, run in candidates.items():
            started = time.monotonic()
            runs[name].append(run())
            say(f"{name}, {turn + 1} of {repeats}: {time.monotonic() - started:.0f} s")
    return runs


def median(runs: list[Run], key: str) -> float:
    return statistics.median(run.answer[key] for run in runs)


def write_result(
    name: str, runs: Any, figures: dict[str, Any], ratios: dict[str, float], out: Path | None
) -> dict[str, Any]:
    """The result in the form that all benchmarks share; to a file if there is one."""
    result = {
        "name": name,
        "machine": machine(),
        "runs": runs,
        "figures": figures,
        "ratios": {key: round(value, 4) for key, value in ratios.items()},
    }
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    return result
