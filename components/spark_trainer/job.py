"""Runs a training as a Spark job: `python -m components.spark_trainer.job REQUEST`.

The request is {"workers": n, "spark": SparkConfig, "invocation": TFX's, "logs": folder}; the answer
is {"workers": n} or {"error": "one line"}.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JJavaError
from spark_tensorflow_distributor import MirroredStrategyRunner

from base.tracebacks import place_in
from components.spark_trainer import worker
from spark_io.jobs.child import answer, log_progress
from spark_io.jobs.session import spark_session

ATTEMPTS = 4  # Spark's own default for a stage
_GPUS = "spark.task.resource.gpu.amount"
# Errors of Spark about a lost process, and of TensorFlow in the processes that miss it.
_WORKER_LOST = re.compile(
    r"Python worker exited unexpectedly|ExecutorLostFailure|Executor heartbeat timed out|"
    r"\b(?:UnavailableError|AbortedError)\b|Collective ops is aborted"
)
# The error at the end of a worker's traceback.
_WORKER_ERROR = re.compile(r"^(?:[\w.]+\.)?(\w*(?:Error|Exception)): ([^\n]+)", re.MULTILINE)


def train(request: dict[str, Any]) -> dict[str, Any]:
    """Runs run_fn on all workers, and again from the last checkpoint if a worker is lost."""
    workers = request["workers"]
    settings = {**request["spark"], "conf": {**_defaults(), **request["spark"]["conf"]}}
    log_progress(f"starting Spark on {settings['master']} for {workers} worker{'s'[: workers > 1]}")
    with spark_session(settings, "SparkTrainer"):
        runner = MirroredStrategyRunner(
            num_slots=workers, use_gpu=_GPUS in settings["conf"], use_custom_strategy=True
        )
        threading.Thread(target=_follow, args=[request["logs"]], daemon=True).start()
        for attempt in range(1, ATTEMPTS + 1):
            try:
                runner.run(worker.run, invocation=request["invocation"], logs=request["logs"])
                break
            except Py4JJavaError as error:
                # Spark itself does not repeat the last stage of a job when it is a barrier stage.
                if attempt == ATTEMPTS or not _WORKER_LOST.search(str(error)):
                    raise
                log_progress(
                    f"a worker was lost; starting all of them again ({attempt} of {ATTEMPTS - 1})"
                )
    return {"workers": workers}


def _defaults() -> dict[str, str]:
    return {
        # TensorFlow's servers and threads serve one training, so no process is reused.
        "spark.python.worker.reuse": "false",
        "spark.executorEnv.PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "spark.executorEnv.TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
        # Reports too few slots for all workers after one minute instead of ten.
        "spark.scheduler.barrier.maxConcurrentTasksCheck.interval": "5s",
        "spark.scheduler.barrier.maxConcurrentTasksCheck.maxFailures": "12",
    }


def _follow(logs: str) -> None:
    """Reports the chief's log lines until the process ends."""
    path, seen = Path(logs) / worker.log_name(0), 0
    while True:
        threading.Event().wait(0.5)
        if path.exists():
            lines = path.read_text("utf-8", "replace").splitlines(keepends=True)
            whole = [line for line in lines if line.endswith("\n")]
            for line in whole[seen:]:
                log_progress(line.rstrip())
            seen = len(whole)


def explain(error: Exception) -> str:
    """Returns the error as one line for a person."""
    text = str(error)
    if "barrier" in text and ("slots" in text or "maxConcurrentTasksCheck" in text):
        return (
            "Spark has fewer free slots than `workers`, and a barrier stage starts all at once or "
            "not at all; add cores to the cluster or lower `workers`"
        )
    found = _WORKER_ERROR.findall(text)
    if found:
        kind, message = found[-1]
        if kind in ("TrainingError", "ComponentError"):  # whose text is for a person
            return message
        place = place_in(text)
        return f"{kind}: {message} ({place})" if place else f"{kind}: {message}"
    return f"{type(error).__name__}: {text.strip().partition(chr(10))[0][:300]}"


def main(request_path: str) -> None:
    request = json.loads(Path(request_path).read_text("utf-8"))
    answer(request_path, lambda: train(request), explain)


if __name__ == "__main__":
    main(sys.argv[1])
