"""Collects the state of all hours and their runs, for the terminal, for JSON and for a page."""

from __future__ import annotations

import dataclasses
import datetime as dt
import importlib.resources
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from base.atomic_files import write_text
from features.outcomes import VERDICTS
from pipeline.config import PipelineConfig
from streaming.accounts import AFTER_LABELS, accounts
from streaming.layout import Layout, hour_name
from streaming.operation.due import overtaken, ready_hours, waiting
from streaming.operation.records import COMPLETE, FAILED, HourRecords, failures_in_a_row

PAGE = "status.html"
_LARGE = 100.0
# Metrics of an evaluation by task, the most telling of each task first.
_SHOWN_METRICS = {"auc": "AUC", "log_loss": "log loss", "rmse": "RMSE", "mae": "MAE"}


def overview(config: PipelineConfig, done: set[int], most_failures: int = 3) -> dict[str, Any]:
    """Returns the accounts of all hours, each with its run.

    Args:
      config: Config with a section `streaming`.
      done: Spans with a complete run in ML Metadata.
      most_failures: Number of failed runs in a row after which the operation waits.

    Returns:
      The result of `accounts`, with `needs_person` (whether the operation waits for a retry). Each
      hour also has `run` (its record or None), `waits` (whether a run of it is due) and `overtaken`
      (whether no run will read it by itself; see due.py).
    """
    settings = config.streaming
    assert settings is not None
    layout, records = Layout(settings.folder), HourRecords(settings.folder).read()
    found = accounts(layout, settings.streams)
    ready = ready_hours(layout, config)
    due, never = set(waiting(ready, done, records)), overtaken(ready, done, records)
    for row in found["hours"]:
        record = records.get(row["hour"])
        row["name"] = hour_name(row["hour"])
        row["run"] = dataclasses.asdict(record) if record else None
        row["waits"] = row["hour"] in due
        row["overtaken"] = row["hour"] in never
        row["freshness_s"] = _freshness(row["run"])
    return {**found, "needs_person": failures_in_a_row(records) >= most_failures}


def counts(hour: Mapping[str, Any]) -> dict[str, int | None]:
    """Returns the counts of an hour of `overview`: of its streams, and of what is left out."""
    return {**hour["rows"], "duplicates": hour["duplicates"], "late": hour["late"]}


def outcome_lines(found: Mapping[str, Any]) -> list[str]:
    """Returns a line for each stream of outcomes: what became of those of all closed hours.

    Args:
      found: Result of `overview`.
    """
    totals: dict[str, Counter[str]] = {}
    for hour in found["hours"]:
        for stream, of in hour["outcomes"].items():
            totals.setdefault(stream, Counter()).update(of)
    lines = []
    for stream, of in totals.items():
        parts = " + ".join(f"{of[verdict]:,} {verdict}" for verdict in VERDICTS)
        lines.append(f"{stream}: {sum(of[v] for v in VERDICTS):,} outcomes = {parts}")
        if of[AFTER_LABELS]:
            lines.append(
                f"{stream}: {of[AFTER_LABELS]:,} of them came after runs could read them, later "
                "than allowed_lateness_minutes; the labels of these runs lack them"
            )
    return lines


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
        return "waits" if row["waits"] else "never run" if row["overtaken"] else ""
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
        counts=counts,
        outcome_lines=outcome_lines(found),
        most=max((_first(row) for row in found["hours"]), default=0) or 1,
    )
    path = folder / PAGE
    write_text(path, text, many_writers=True)  # by `run`, and by `status --html`
    return path


def _first(row: Mapping[str, Any]) -> int:
    """Returns the rows of the first stream."""
    return int(next(iter(row["rows"].values()), 0))


def _utc(epoch_ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(epoch_ms / 1000, dt.timezone.utc)
