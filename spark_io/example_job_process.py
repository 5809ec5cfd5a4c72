"""Runs the Spark job in a process of its own, and hides the secrets of its sources."""

from __future__ import annotations

from typing import Any

from spark_io import example_job as job
from spark_io.jobs.errors import hide_secrets
from spark_io.jobs.parent import run_in_child
from spark_io.sources.source_types import sources_from_json


def run_job(request: dict[str, Any]) -> dict[str, Any]:
    """Returns the answer to a request; example_job.py describes both.

    Raises:
      ComponentError: The job failed; see `run_in_child`.
    """
    inputs = request["run"]["inputs"] if "run" in request else request["find"]
    hide_secrets(sources_from_json(inputs["sources"]))
    return run_in_child(job.__name__, request)
