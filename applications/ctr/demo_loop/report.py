"""Reports a day: a table, a chart, and loop.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.table import Table

from applications.ctr.demo_loop.day import Day
from applications.ctr.demo_loop.site import FROZEN
from streaming.layout import hour_name
from streaming.online_evaluation.chart import ChartPoint, chart
from streaming.online_evaluation.metrics import served_metrics
from streaming.online_evaluation.rule import PROMOTE, WAIT

LOOP = "loop"
ROLLED_BACK = "rolled back"
CTR, LOG_LOSS = "ctr", "log_loss"
METRICS = {CTR: "CTR", "auc": "AUC", LOG_LOSS: "log loss"}
_SOURCES = {CTR: "mean_label"}  # our name -> that of online evaluation, where they differ


def by_hour(day: Day) -> list[dict[str, Any]]:
    """Returns the figures of the loop and of the first model, for each hour with models."""
    found = [{"hour": hour, **_figures(day, [hour])} for hour in day.evaluation.results()]
    return [row for row in found if len(row) > 1]


def _figures(day: Day, hours: list[int]) -> dict[str, Any]:
    """Returns arm -> its figures in these hours.

    Arms are the loop with all its versions, the first model, and versions that were rolled back.
    """
    rows = day.evaluation.rows
    shown = rows.read(hours).dropna(subset=["version"])
    arms = shown["arm"].where(shown["arm"] == FROZEN, LOOP)
    arms = arms.mask(shown["version"].isin([*day.withdrawn]) & (arms == LOOP), ROLLED_BACK)
    return {
        one.arm: {
            "impressions": one.events,
            **{name: one.values[_SOURCES.get(name, name)] for name in METRICS},
            "intervals": {name: one.intervals[_SOURCES.get(name, name)] for name in METRICS},
        }
        for one in served_metrics(shown.assign(arm=arms, version=0), rows.task)
    }


def write(day: Day, path: Path, seconds: float) -> dict[str, Any]:
    """Writes loop.json, and returns its content."""
    content = {
        "seconds": round(seconds),
        "hours": by_hour(day),
        "all": _figures(day, [*day.evaluation.results()]),
        "decisions": {day.first_hour + hour: text for hour, text in day.decisions.items()},
        "runs": {hour: {"seconds": run.seconds, **run.summary} for hour, run in day.runs.items()},
    }
    path.write_text(json.dumps(content, indent=1, default=str) + "\n", "utf-8")
    return content


def draw(content: dict[str, Any], path: Path) -> None:
    """Draws the metrics by hour of the loop, without rolled-back versions, and of the first model.

    Args:
      content: Result of `write`.
      path: Path of an .svg or .png file.
    """
    panels = {
        title: {
            arm: [
                ChartPoint(row["hour"], row[arm][metric], tuple(row[arm]["intervals"][metric]))
                for row in content["hours"]
                if arm in row
            ]
            for arm in (LOOP, FROZEN)
        }
        for metric, title in METRICS.items()
    }
    marks = {
        hour: "promoted" if decision.startswith(PROMOTE) else "rolled back"
        for hour, decision in content["decisions"].items()
        if not decision.startswith(WAIT)
    }
    chart(panels, marks, path)


def table(content: dict[str, Any]) -> Table:
    """Returns a table for the terminal; its last line is the whole day."""
    result = Table("hour", "impressions")
    for title in METRICS.values():
        for arm in (LOOP, FROZEN):
            result.add_column(f"{title} {arm}", justify="right")
    for row in content["hours"]:
        result.add_row(hour_name(row["hour"]), *_cells(row))
    result.add_section()
    result.add_row("all", *_cells(content["all"]))
    return result


def _cells(row: dict[str, Any]) -> list[str]:
    arms = [row.get(LOOP), row.get(FROZEN)]
    count = sum(one["impressions"] for one in arms if one)
    figures = ["" if one is None else f"{one[metric]:.4f}" for metric in METRICS for one in arms]
    return [f"{count:,}", *figures]


def verdict(content: dict[str, Any]) -> list[str]:
    """Returns the whole day in one line per metric, with 95 % intervals."""
    arms = [(arm, content["all"][arm]) for arm in (LOOP, FROZEN) if arm in content["all"]]
    lines = []
    for metric, title in METRICS.items():
        texts = []
        for arm, figures in arms:
            low, high = figures["intervals"][metric]
            texts.append(f"{arm} {figures[metric]:.4f} ({low:.4f} to {high:.4f})")
        lines.append(f"{title}: {', '.join(texts)}")
    if bad := content["all"].get(ROLLED_BACK):
        lines.append(
            f"rolled-back versions had {bad['impressions']:,} impressions, CTR {bad[CTR]:.4f}, "
            f"log loss {bad[LOG_LOSS]:.4f}; the loop's figures exclude them"
        )
    return lines
