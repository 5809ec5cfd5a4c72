"""Writes the page of the online evaluation."""

from __future__ import annotations

import datetime as dt
import importlib.resources
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from base.atomic_files import write_text
from streaming.layout import hour_name
from streaming.online_evaluation.chart import ChartPoint, chart_svg
from streaming.online_evaluation.evaluate import OnlineEvaluation
from streaming.online_evaluation.rule import PROMOTE
from streaming.online_evaluation.served_rows import EventNames

PAGE = "online.html"
_SHOWN_HOURS = 72
_SHOWN_FEATURES = 12


def write_page(
    folder: Path,
    title: str,
    titles: Mapping[str, str],
    names: EventNames,
    metrics: Mapping[int, Sequence[Mapping[str, Any]]],
    drift: Mapping[int, Mapping[str, Any]],
    switches: Iterable[Mapping[str, Any]],
    decision: str,
    at_last: OnlineEvaluation | None = None,
) -> Path:
    """Writes FOLDER/online.html, and returns its path.

    Args:
      folder: The config's `streaming.folder`.
      title: Name of the pipeline.
      titles: Metric to show -> its name for people.
      names: The application's names.
      metrics: Results of OnlineEvaluation.
      drift: Results of DriftWatch.
      switches: History of DecisionExecutor.
      decision: Text of the decision about the live versions.
      at_last: The evaluation by later outcomes; None without them.
    """
    switches = [*switches]
    hours = sorted(hour for hour, served in metrics.items() if served)[-_SHOWN_HOURS:]
    shown = {hour: metrics[hour] for hour in hours}
    marks = {s["hour"]: "promoted" if s["what"] == PROMOTE else "rolled back" for s in switches}
    template = importlib.resources.files(__package__).joinpath("online.html.j2")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.globals["hour_name"] = hour_name
    text = environment.from_string(template.read_text("utf-8")).render(
        title=title,
        decision=decision,
        written=dt.datetime.now(dt.timezone.utc),
        chart=chart_svg(panels(shown, titles), {h: m for h, m in marks.items() if h in shown})
        if shown
        else "",
        newest_first=[*shown.items()][::-1],
        metrics=titles,
        names=names,
        switches=switches[::-1],
        drift=[*drift.items()][: -_SHOWN_HOURS - 1 : -1],
        most=_SHOWN_FEATURES,
        at_last=_later(at_last) if at_last is not None else None,
    )
    path = folder / PAGE
    write_text(path, text)
    return path


def _later(evaluation: OnlineEvaluation) -> dict[str, Any]:
    """Returns what the page shows of the evaluation by later outcomes, newest hours first."""
    found = evaluation.results()
    hours = sorted(hour for hour, served in found.items() if served)[-_SHOWN_HOURS:]
    shown = {hour: found[hour] for hour in hours}
    return {
        "names": evaluation.rows.names,
        "metrics": evaluation.shown,
        "newest_first": [*shown.items()][::-1],
        "chart": chart_svg(panels(shown, evaluation.shown), {}) if shown else "",
    }


def panels(
    metrics: Mapping[int, Sequence[Mapping[str, Any]]], titles: Mapping[str, str]
) -> dict[str, dict[str, list[ChartPoint]]]:
    """Returns title -> arm -> its points; of two versions in an hour, the newer one's."""
    result: dict[str, dict[str, list[ChartPoint]]] = {}
    for metric, title in titles.items():
        lines: dict[str, dict[int, ChartPoint]] = {}
        for hour, served in metrics.items():
            for one in served:
                value, interval = one["values"][metric], one["intervals"][metric]
                if value is not None:
                    pair = None if interval is None else (interval[0], interval[1])
                    lines.setdefault(one["arm"], {})[hour] = ChartPoint(hour, value, pair)
        result[title] = {arm: [*points.values()] for arm, points in lines.items()}
    return result
