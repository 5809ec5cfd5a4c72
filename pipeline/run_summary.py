"""Reads the metrics and the error of a run from its run_summary.json."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from base.foreign_json import parse
from base.shared_names import RUN_SUMMARY
from components.evaluator.evaluation_files import read_evaluation
from metadata.records import Artifact, Execution

_NO_METRIC = "example_count"  # a count among TFMA's metrics


def read_summary(path: Path) -> dict[str, Any]:
    """Returns the summary; empty if it is missing or unreadable."""
    try:
        found = parse(path.read_text("utf-8"), finite=False)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def error_of(folder: Path) -> str | None:
    """Returns why the run of this folder failed; None if it did not."""
    found = read_summary(folder / RUN_SUMMARY).get("error")
    return found if isinstance(found, str) else None


def metrics_of(
    summaries: Path | None, executions: Iterable[Execution | None], evaluation: Artifact | None
) -> tuple[dict[str, float], str | None]:
    """Returns metrics by name, and the path of their file.

    Args:
      summaries: Folder of <run_id>/run_summary.json; None if it is unknown.
      executions: Executions, of which the first whose run summary has metrics is used.
      evaluation: ModelEvaluation that is read if no summary has metrics.
    """
    for execution in executions:
        if summaries is None or execution is None or not execution.run_id:
            continue
        path = summaries / execution.run_id / RUN_SUMMARY
        metrics = _numbers(read_summary(path).get("metrics"))
        if metrics:
            return metrics, str(path)
    found = read_evaluation(evaluation.uri) if evaluation else None
    if evaluation is None or found is None or found.overall is None:
        return {}, None
    metrics = {n: m.value for n, m in found.overall.metrics.items() if n != _NO_METRIC}
    return metrics, evaluation.uri


def _numbers(found: Any) -> dict[str, float]:
    named = found.items() if isinstance(found, dict) else ()
    return {name: value for name, value in named if isinstance(value, int | float)}
