"""What came of a day: a table, and loop.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from demo_loop.day import Day
from demo_loop.site import FROZEN
from streaming.layout import hour_name

LOOP = "loop"


def by_hour(day: Day) -> list[dict[str, Any]]:
    """Each hour with models: impressions, CTR and log loss of the loop and of the first model."""
    rows = []
    for hour in day.evaluation.results():
        shown = day.evaluation.impressions([hour]).dropna(subset=["version", "probability"])
        if shown.empty:
            continue
        arms = shown.assign(arm=shown["arm"].where(shown["arm"] == FROZEN, LOOP)).groupby("arm")
        rows.append({"hour": hour, **{str(name): _figures(of) for name, of in arms}})
    return rows


def _figures(rows: pd.DataFrame) -> dict[str, float]:
    label = rows["clicked"].to_numpy(float)
    said = rows["probability"].to_numpy(float).clip(1e-7, 1 - 1e-7)
    loss = -(label * np.log(said) + (1 - label) * np.log(1 - said))
    return {"impressions": len(rows), "ctr": float(label.mean()), "log_loss": float(loss.mean())}


def write(day: Day, path: Path, seconds: float) -> dict[str, Any]:
    """loop.json."""
    content = {
        "seconds": round(seconds),
        "hours": by_hour(day),
        "decisions": day.decisions,
        "runs": {hour: {"seconds": run.seconds, **run.summary} for hour, run in day.runs.items()},
    }
    path.write_text(json.dumps(content, indent=1, default=str) + "\n", "utf-8")
    return content


def table(content: dict[str, Any]) -> Table:
    """For a screen; the last line is the whole day."""
    result = Table("hour", "impressions", "CTR loop", "CTR frozen", "log loss loop", "frozen")
    for column in result.columns[1:]:
        column.justify = "right"
    for row in content["hours"]:
        result.add_row(hour_name(row["hour"]), *_cells(row))
    result.add_section()
    result.add_row("all", *_cells(total(content["hours"])))
    return result


def total(hours: list[dict[str, Any]]) -> dict[str, Any]:
    """Over all hours, weighted by impressions."""
    found: dict[str, Any] = {}
    for arm in (LOOP, FROZEN):
        there = [row[arm] for row in hours if arm in row]
        count = sum(row["impressions"] for row in there)
        found[arm] = {"impressions": count} | {
            name: sum(row[name] * row["impressions"] for row in there) / max(1, count)
            for name in ("ctr", "log_loss")
        }
    return found


def _cells(row: dict[str, Any]) -> list[str]:
    ours, theirs = row.get(LOOP), row.get(FROZEN)
    count = sum(one["impressions"] for one in (ours, theirs) if one)
    cells = [f"{count:,}"]
    for name in ("ctr", "log_loss"):
        cells += ["" if one is None else f"{one[name]:.4f}" for one in (ours, theirs)]
    return cells
