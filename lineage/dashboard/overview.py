"""Collects what the dashboard shows: runs with metrics, serving versions, waiting spans."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from base.foreign_json import parse
from base.shared_names import RUN_SUMMARY
from lineage.as_json import to_json
from lineage.listing import RunLine, run_lines
from lineage.served import served
from metadata.reader import MetadataReader

# Metrics of the table of runs by task, the most telling of each task first, and their titles.
_COLUMNS = {
    "auc": "AUC",
    "log_loss": "log loss",
    "accuracy": "accuracy",
    "rmse": "RMSE",
    "mae": "MAE",
}
_FIRST = 50  # runs in the page itself; its script loads the others


@dataclasses.dataclass(frozen=True)
class ShownRun:
    """A run with its metrics and peak memory."""

    line: RunLine
    metrics: dict[str, float]
    peak_mib: int | None


@dataclasses.dataclass(frozen=True)
class WaitingSpan:
    """A closed span without a complete run.

    Attributes:
      span: Number of the span.
      name: Name of the hour.
      rows: Number of its events.
      events: Name of its events.
    """

    span: int
    name: str
    rows: int
    events: str


def shown_runs(
    store: MetadataReader, summaries: Path | None, limit: int | None = _FIRST
) -> list[ShownRun]:
    """Returns runs with their metrics, newest first.

    Raises:
      MetadataError: The store cannot be read.
    """
    return [_shown(line, summaries) for line in run_lines(store, limit)]


def metric_columns(runs: Iterable[ShownRun]) -> dict[str, str]:
    """Returns the metrics that a table of these runs shows, each with its title."""
    known = {name for run in runs for name in run.metrics}
    shown = {name: title for name, title in _COLUMNS.items() if name in known}
    return shown or {"auc": "AUC", "log_loss": "log loss"}


def waiting(store_lines: Iterable[RunLine], streaming: Path | None) -> list[WaitingSpan]:
    """Returns closed spans that no complete run has read, oldest first.

    Args:
      store_lines: Lines of all runs.
      streaming: The config's `streaming.folder`; None without streaming.
    """
    done = {line.span for line in store_lines if line.state == "complete"}
    found: dict[int, WaitingSpan] = {}
    for path in sorted((streaming / "spans" / "closed").glob("[0-9]*.json")) if streaming else ():
        marker = _json(path)
        try:
            span = int(marker["hour"])
            events, rows = _events(marker)
        except (KeyError, TypeError, ValueError, StopIteration):
            continue  # still being written, or not written by `python -m streaming ingest`
        if span not in done and rows:
            found[span] = WaitingSpan(span, path.stem.partition(".")[0], rows, events)
    return [found[span] for span in sorted(found)]


def _events(marker: Mapping[str, Any]) -> tuple[str, int]:
    """Returns the name and the number of an hour's events, the first stream of its marker."""
    streams = ((name, one["rows"]) for name, one in marker.items() if isinstance(one, dict))
    name, rows = next(streams)
    return name, int(rows)


def as_json(
    store: MetadataReader, summaries: Path | None, streaming: Path | None, limit: int | None
) -> str:
    """Returns everything as JSON, for the page's script and for programs.

    Raises:
      MetadataError: The store cannot be read.
    """
    runs = shown_runs(store, summaries, limit)
    return to_json(
        {
            "store": store.name,
            "runs": runs,
            "served": served(store),
            "waiting": waiting((run.line for run in runs), streaming),
        }
    )


def _shown(line: RunLine, summaries: Path | None) -> ShownRun:
    summary = _json(summaries / line.run_id / RUN_SUMMARY) if summaries else {}
    metrics = summary.get("metrics")
    numbers = metrics.items() if isinstance(metrics, dict) else ()
    peak = summary.get("peak_mib")
    return ShownRun(
        line,
        {name: value for name, value in numbers if isinstance(value, int | float)},
        peak if isinstance(peak, int) else None,
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        found = parse(path.read_text("utf-8"), finite=False)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
