"""Collects the state of all hours and their runs, for the terminal, for JSON and for a page."""

from __future__ import annotations

import dataclasses
import datetime as dt
import importlib.resources
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from base.atomic_files import write_text
from streaming.accounts import accounts
from streaming.layout import IMPRESSIONS, Layout, hour_name
from streaming.operation.due import waiting
from streaming.operation.records import COMPLETE, FAILED, HourRecords, failures_in_a_row

PAGE = "status.html"
_LARGE = 100.0
# Metrics of an evaluation by task, the most telling of each task first.
_SHOWN_METRICS = {"auc": "AUC", "log_loss": "log loss", "rmse": "RMSE", "mae": "MAE"}
_NO_COUNTS = ("hour", "state", "name", "run", "waits", "freshness_s")


def overview(folder: Path, done: set[int], most_failures: int = 3) -> dict[str, Any]:
    """Returns the accounts of all hours, each with its run.

    Args:
      folder: The config's `streaming.folder`.
      done: Spans with a complete run in ML Metadata.
      most_failures: Number of failed runs in a row after which the operation waits.

    Returns:
      The result of `accounts`, with `needs_person` (whether the operation waits for a retry). Each
      hour also has `run` (its record or None) and `waits` (whether a run of it is due).
    """
    found, records = accounts(Layout(folder)), HourRecords(folder).read()
    with_rows = {
        h["hour"] for h in found["hours"] if h["state"].startswith("closed") and h[IMPRESSIONS]
    }
    due = set(waiting(with_rows, done, records))
    for row in found["hours"]:
        record = records.get(row["hour"])
        row["name"] = hour_name(row["hour"])
        row["run"] = dataclasses.asdict(record) if record else None
        row["waits"] = row["hour"] in due
        row["freshness_s"] = _freshness(row["run"])
    return {**found, "needs_person": failures_in_a_row(records) >= most_failures}


def counts(found: Mapping[str, Any]) -> list[str]:
    """Returns the names of the counts of an hour: of streams, of outcomes, and of what is left out.

    Args:
      found: Result of `overview`.
    """
    names = dict.fromkeys(name for hour in found["hours"] for name in hour)
    return [name for name in names if name not in _NO_COUNTS]


def _freshness(run: dict[str, Any] | None) -> float | None:
    """Returns the seconds from the hour's close to the end of its run."""
    if run is None or run["state"] != COMPLETE or not run["closed_at"] or run["seconds"] is None:
        return None
    began = dt.datetime.fromisoformat(run["started_at"])
    waited = (began - dt.datetime.fromisoformat(run["closed_at"])).total_seconds()
    return round(waited + run["seconds"], 1)


def run_text(row: dict[str, Any]) -> str:
    """Returns the run of an hour in a few words."""
    run = row["run"]
    if run is None:
        return "waits" if row["waits"] else ""
    if run["state"] != COMPLETE:
        return f"failed: {run['error']}" if run["state"] == FAILED else str(run["state"])
    summary = run["summary"]
    parts = [*metric_texts(summary)[:1], release_text(summary)]
    return ", ".join(parts) + ("" if run["seconds"] is None else f" ({run['seconds']:.0f} s)")


def metric_texts(summary: dict[str, Any]) -> list[str]:
    """Returns the most telling metrics of a run, in a few words each."""
    found = summary.get("metrics", {})
    return [
        f"{title} {_digits(found[name])}"
        for name, title in _SHOWN_METRICS.items()
        if isinstance(found.get(name), int | float)
    ]


def _digits(value: float) -> str:
    return f"{value:.4f}" if abs(value) < _LARGE else f"{value:,.1f}"


def release_text(summary: dict[str, Any]) -> str:
    """Returns whether the model was blessed and pushed, in a few words."""
    if not summary.get("blessed"):
        return "not blessed"
    pushed = summary.get("pushed_model")
    return f"version {Path(pushed).name}" if pushed else "not pushed"


def write_page(folder: Path, found: dict[str, Any], title: str) -> Path:
    """Writes an overview to FOLDER/status.html, and returns its path."""
    template = importlib.resources.files(__package__).joinpath("status.html.j2")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    watermark = found["watermark_ms"]
    text = environment.from_string(template.read_text("utf-8")).render(
        title=title,
        found=found,
        newest_first=found["hours"][::-1],
        run_text=run_text,
        complete_up_to=None if watermark is None else _utc(watermark),
        written=dt.datetime.now(dt.timezone.utc),
        columns=counts(found),
        most=max((row[IMPRESSIONS] or 0 for row in found["hours"]), default=0) or 1,
    )
    path = folder / PAGE
    write_text(path, text, many_writers=True)  # by `run`, and by `status --html`
    return path


def _utc(epoch_ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(epoch_ms / 1000, dt.timezone.utc)
