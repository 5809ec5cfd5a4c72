"""Runs in the job's process: takes a request, reports progress and writes one answer."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from base.atomic_files import write_json
from base.redaction import redacted

ANSWER = "answer.json"
PROGRESS = "progress: "


def log_progress(text: str) -> None:
    """Writes a line to the pipeline's log."""
    print(f"{PROGRESS}{text}", flush=True)


def answer(
    request_path: str,
    run: Callable[[], dict[str, Any]],
    explain: Callable[[Exception], str],
) -> NoReturn:
    """Runs the job, writes what it returns beside the request, and ends the process.

    The answer is {"error": "one line"} when `run` raises. The process also ends when its standard
    input closes, so a job never outlives the pipeline.

    Args:
      request_path: Path of the JSON file that holds the request.
      run: Function that runs the job.
      explain: Function that turns an exception into one line.
    """
    _end_with_parent()
    try:
        result = run()
    except Exception as error:
        print(redacted(traceback.format_exc()), flush=True)
        result = {"error": redacted(explain(error))}
    write_json(Path(request_path).with_name(ANSWER), result)
    sys.stdout.flush()
    # sys.exit would wait for the thread that watches standard input.
    os._exit(1 if "error" in result else 0)


def _end_with_parent() -> None:
    """Ends this process and its JVM when the pipeline that started it has ended."""

    def wait() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
