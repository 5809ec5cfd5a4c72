"""Runs a Spark job in a process of its own, logs its output and returns its answer."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

from base.errors import ComponentError
from base.redaction import redacted
from spark_io.jobs.child import ANSWER, PROGRESS
from spark_io.jobs.session import spark_environment

_log = logging.getLogger(__name__)


def run_in_child(module: str, request: dict[str, Any]) -> dict[str, Any]:
    """Runs `python -m MODULE REQUEST` and returns its answer; see child.py for the other side.

    Args:
      module: Name of the job's module.
      request: Plain JSON.

    Raises:
      ComponentError: The job failed; the error is its own, or its last output if it left no answer.
    """
    with tempfile.TemporaryDirectory(prefix="spark-job-") as folder:
        request_path = Path(folder) / "request.json"
        request_path.write_text(json.dumps(request), "utf-8")
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(request_path)],
            stdin=subprocess.PIPE,  # closes with this process, which ends the job
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=child_environment(),
            text=True,
            errors="replace",
        )
        try:
            last_lines = _follow(process)
        except BaseException:
            process.kill()
            process.wait()
            raise
        answer_path = Path(folder) / ANSWER
        if not answer_path.exists():
            raise ComponentError(_died(process.returncode, last_lines))
        answer: dict[str, Any] = json.loads(answer_path.read_text("utf-8"))
    if "error" in answer:
        raise ComponentError(answer["error"])
    return answer


def _follow(process: subprocess.Popen[str]) -> list[str]:
    """Logs the job's output without secrets until it ends, and returns the last lines."""
    assert process.stdout is not None
    last_lines: deque[str] = deque(maxlen=20)
    started, failed = time.monotonic(), False
    for line in process.stdout:
        text = redacted(line.rstrip())
        if text.startswith(PROGRESS):
            _log.info("%s", text[len(PROGRESS) :])
        elif text:
            last_lines.append(text)
            # From a traceback on the output is worth reading.
            failed = failed or text.startswith("Traceback")
            _log.log(logging.INFO if failed else logging.DEBUG, "spark: %s", text)
    process.wait()
    _log.info("Spark job ended after %.0f s", time.monotonic() - started)
    return list(last_lines)


def _died(code: int, last_lines: list[str]) -> str:
    if code == -9:
        return "the Spark job was killed (signal 9), by hand or because memory ran out; run again"
    tail = next((line for line in reversed(last_lines) if "Error" in line), "")
    return (
        f"the Spark job ended with code {code} and no answer; {tail or 'its output is in the log'}"
    )


def child_environment() -> dict[str, str]:
    """Returns the job's environment: this Python, a Java, and the folders of modules."""
    ours = [str(Path(__file__).resolve().parents[2]), str(Path.cwd())]
    ours += [path for path in sys.path if path and not path.startswith(sys.prefix)]
    return {
        **os.environ,
        **spark_environment(),
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(ours)),
    }
