"""Draws metrics by hour."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.dates import DateFormatter
from matplotlib.figure import Figure

from streaming.layout import hour_start

_COLOURS = ("#1b6ca8", "#d1762a", "#4a9a5b", "#8a5aa8", "#777777")
_WIDTH, _PANEL_HEIGHT = 9.0, 2.4  # inches


@dataclasses.dataclass(frozen=True)
class ChartPoint:
    """A metric in an hour.

    Attributes:
      hour: Hours since 1970.
      value: Value of the metric.
      interval: Confidence interval (low, high); None if unknown.
    """

    hour: int
    value: float
    interval: tuple[float, float] | None = None


def chart(
    panels: Mapping[str, Mapping[str, Sequence[ChartPoint]]], marks: Mapping[int, str], path: Path
) -> None:
    """Draws a chart into an .svg or .png file.

    Args:
      panels: Metric -> name of a line -> its points by hour. A line has one colour in all panels.
      marks: Hour -> text of the event at its end.
      path: Path of the file; its suffix selects the format.
    """
    _figure(panels, marks).savefig(path, dpi=110)


def chart_svg(
    panels: Mapping[str, Mapping[str, Sequence[ChartPoint]]], marks: Mapping[int, str]
) -> str:
    """Returns the same chart as an <svg> element."""
    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "online evaluation"}):  # makes the ids reproducible
        _figure(panels, marks).savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def _figure(
    panels: Mapping[str, Mapping[str, Sequence[ChartPoint]]], marks: Mapping[int, str]
) -> Figure:
    figure = Figure(figsize=(_WIDTH, 0.5 + _PANEL_HEIGHT * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    names = [*dict.fromkeys(name for lines in panels.values() for name in lines)]
    colours = {name: _COLOURS[n % len(_COLOURS)] for n, name in enumerate(names)}
    for axis, (metric, lines) in zip(axes, panels.items(), strict=True):
        for name, points in lines.items():
            _line(axis, name, [p for p in points if math.isfinite(p.value)], colours[name])
        axis.set_ylabel(metric, parse_math=False)  # it has names of the application
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        for hour in marks:
            axis.axvline(_end(hour), color="#555555", linestyle=":", linewidth=1)
    for hour, text in marks.items():
        where = {"xytext": (2, 2), "textcoords": "offset points", "fontsize": 7, "rotation": 30}
        top = (_end(hour), 1.0)
        axes[0].annotate(text, top, xycoords=("data", "axes fraction"), **where)
    axes[0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)
    axes[-1].xaxis.set_major_formatter(DateFormatter("%d %b %H:%M"))
    axes[-1].tick_params(axis="x", labelsize=8)
    return figure


def _line(axis, name: str, points: Sequence[ChartPoint], colour: str) -> None:  # type: ignore[no-untyped-def]
    hours = [hour_start(p.hour).replace(tzinfo=None) for p in points]
    axis.plot(
        hours, [p.value for p in points], label=_plain(name), color=colour, marker="o", markersize=3
    )
    known = [(hour, p.interval) for hour, p in zip(hours, points, strict=True) if p.interval]
    if known:
        lows, highs = [low for _, (low, _) in known], [high for _, (_, high) in known]
        axis.fill_between([hour for hour, _ in known], lows, highs, color=colour, alpha=0.15)


def _plain(name: str) -> str:
    """Returns a safe label: names come from requests and may hold TeX or markup."""
    return "".join(c if c.isalnum() or c in " _" else "." for c in name)[:30]


def _end(hour: int) -> dt.datetime:
    return hour_start(hour + 1).replace(tzinfo=None)
