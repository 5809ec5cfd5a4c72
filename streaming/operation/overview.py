"""What was processed, what waits, and why something failed: for a screen, a program and a page."""

from __future__ import annotations

import dataclasses
import datetime as dt
import importlib.resources
from pathlib import Path
from typing import Any

import jinja2

from base.atomic_files import write_text
from streaming.accounts import accounts
from streaming.layout import CLICKS, IMPRESSIONS, Layout, hour_name
from streaming.operation.due import waiting
from streaming.operation.records import COMPLETE, FAILED, Records, failures_in_a_row

PAGE = "status.html"


def overview(folder: Path, done: set[int], most_failures: int = 3) -> dict[str, Any]:
    """The accounts of all hours, each with its run.

    Args:
      folder: the config's `streaming.folder`.
      done: spans that ML Metadata has a complete run of.
      most_failures: as of Operation.

    Returns:
      What `accounts` returns; each hour also has `run`: its record, or None, and `waits`: whether
      a run is to come to it; `needs_person`: whether runs have stopped.
    """
    found, records = accounts(Layout(folder)), Records(folder).read()
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


def _freshness(run: dict[str, Any] | None) -> float | None:
    """From the hour's close to the end of its run, in seconds."""
    if run is None or run["state"] != COMPLETE or not run["closed_at"] or run["seconds"] is None:
        return None
    began = dt.datetime.fromisoformat(run["started_at"])
    waited = (began - dt.datetime.fromisoformat(run["closed_at"])).total_seconds()
    return round(waited + run["seconds"], 1)


def run_text(row: dict[str, Any]) -> str:
    """The run of an hour, in a few words."""
    run = row["run"]
    if run is None:
        return "waits" if row["waits"] else ""
    if run["state"] != COMPLETE:
        return f"failed: {run['error']}" if run["state"] == FAILED else str(run["state"])
    summary = run["summary"]
    auc = summary.get("metrics", {}).get("auc")
    parts = [] if auc is None else [f"AUC {auc:.4f}"]
    parts.append(release_text(summary))
    return ", ".join(parts) + ("" if run["seconds"] is None else f" ({run['seconds']:.0f} s)")


def release_text(summary: dict[str, Any]) -> str:
    """What came of the model."""
    if not summary.get("blessed"):
        return "not blessed"
    pushed = summary.get("pushed_model")
    return f"version {Path(pushed).name}" if pushed else "not pushed"


def write_page(folder: Path, found: dict[str, Any], title: str) -> Path:
    """An HTML page of an overview, in the folder; returns its path."""
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
        columns=(IMPRESSIONS, "clicked", CLICKS, "duplicates", "late"),
        most=max((row[IMPRESSIONS] or 0 for row in found["hours"]), default=0) or 1,
    )
    path = folder / PAGE
    write_text(path, text, many_writers=True)  # by `run`, and by `status --html`
    return path


def _utc(epoch_ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(epoch_ms / 1000, dt.timezone.utc)
