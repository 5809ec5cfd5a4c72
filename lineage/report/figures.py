"""Draws a run's facts as Plotly figures; page.js sets colours and fonts."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from components.evaluator.evaluation_files import Bucket, Confusion, Evaluation, Slice
from lineage.report.decision import Decision
from lineage.report.statistics import Feature
from lineage.report.training import Curve
from metadata.records import Run

_POINTS = 20  # points in the calibration plot
_VALUES = 10  # values shown of a text feature
_HEIGHT, _ROW = 340, 18  # pixels of a figure, and of each slice in it
_LONGEST = 24  # characters of an axis label
_STATES = ("complete", "cached", "failed", "running", "canceled", "unknown")


def timings(run: Run, peaks: Mapping[str, int | None]) -> go.Figure:
    """Draws when each component ran, in seconds since the run began."""
    figure = go.Figure()
    for state in _STATES:
        chosen = [e for e in run.components if e.state == state]
        if chosen:
            starts = [(e.started - run.started).total_seconds() for e in chosen]
            memory = [
                f"<br>{peaks[e.component]:,} MiB" if peaks.get(e.component) else "" for e in chosen
            ]
            figure.add_bar(
                name=state,
                y=[_text(e.title) for e in chosen],
                x=[e.seconds for e in chosen],
                base=starts,
                orientation="h",
                customdata=memory,
                hovertemplate="%{y}: %{x:.1f} s%{customdata}<extra></extra>",
            )
    names = list(dict.fromkeys(e.title for e in run.components))
    figure.update_layout(barmode="overlay", xaxis_title="seconds since the run began")
    figure.update_yaxes(**_ticks(names[::-1]))
    return figure


def memory(run: Run, peaks: Mapping[str, int | None]) -> go.Figure | None:
    """Draws the peak memory of each component; None if it was not measured."""
    known = list(dict.fromkeys(e.component for e in run.components if peaks.get(e.component)))
    if not known:
        return None
    figure = go.Figure()
    figure.add_bar(
        y=[_text(name) for name in known],
        x=[peaks[name] for name in known],
        orientation="h",
        hovertemplate="%{y}: %{x:,} MiB<extra></extra>",
    )
    figure.update_layout(xaxis_title="MiB at most, with all its processes", showlegend=False)
    figure.update_yaxes(**_ticks(known[::-1]))
    return figure


def curve(metric: str, curves: Iterable[Curve]) -> go.Figure:
    """Draws a training metric by round."""
    figure = go.Figure()
    for one in curves:
        if one.metric == metric:
            figure.add_scatter(
                name=one.rows,
                x=[number for number, _ in one.points],
                y=[value for _, value in one.points],
                mode="lines+markers",
            )
    figure.update_layout(xaxis_title="round", yaxis_title=metric.replace("_", " "))
    return figure


def calibration(buckets: Sequence[Bucket]) -> go.Figure:
    """Draws mean label against mean prediction, in groups of about equal size."""
    groups = grouped(buckets)
    x = [group.predictions / group.rows for group in groups]
    y = [group.labels / group.rows for group in groups]
    top = max([*x, *y], default=1.0) * 1.05
    figure = go.Figure()
    figure.add_scatter(
        name="as predicted", x=[0, top], y=[0, top], mode="lines", line_dash="dot", hoverinfo="skip"
    )
    figure.add_scatter(
        name="the model",
        x=x,
        y=y,
        mode="lines+markers",
        customdata=[group.rows for group in groups],
        hovertemplate="said %{x:.4f}<br>was %{y:.4f}<br>%{customdata:,.0f} rows<extra></extra>",
    )
    figure.update_layout(xaxis_title="mean prediction", yaxis_title="mean label")
    return figure


def decision_curve(decision: Decision) -> go.Figure:
    """Draws precision and recall by the share that is reviewed, with a mark at the chosen one."""
    figure = _by_share(decision, ("recall", "precision"), ".1%")
    figure.update_yaxes(tickformat=".0%")
    return figure


def decision_cost(decision: Decision) -> go.Figure | None:
    """Draws the cost of an example by the share that is reviewed; None without costs."""
    if decision.costs is None:
        return None
    figure = _by_share(decision, ("cost",), ".4g")
    figure.update_yaxes(title="mean cost of an example")
    return figure


def _by_share(decision: Decision, names: Sequence[str], number: str) -> go.Figure:
    """Draws results of all thresholds as lines, and those of the chosen one as points."""
    figure = go.Figure()
    for name in names:
        known = [one for one in decision.curve if getattr(one, name) is not None]
        figure.add_scatter(
            name=name,
            x=[one.share for one in known],
            y=[getattr(one, name) for one in known],
            mode="lines",
            customdata=[one.threshold for one in known],
            hovertemplate=f"%{{x:.3%}} reviewed, from %{{customdata:.4g}} on<br>{name} "
            f"%{{y:{number}}}<extra></extra>",
        )
    chosen = [value for name in names if (value := getattr(decision, name)) is not None]
    if decision.share > 0:  # a logarithmic axis has no 0
        figure.add_scatter(
            name="chosen",
            x=[decision.share] * len(chosen),
            y=chosen,
            mode="markers",
            marker={"size": 11, "symbol": "diamond"},
            hovertemplate=f"chosen: %{{x:.3%}} reviewed, %{{y:{number}}}<extra></extra>",
        )
    least = min((one.share for one in decision.curve if one.share > 0), default=1.0)
    figure.update_xaxes(
        type="log",
        range=[math.log10(least) - 0.05, 0.05],  # whole decades have their label then
        dtick=1,
        tickformat="~%",
        title="share of the examples that are reviewed",
    )
    figure.update_yaxes(rangemode="tozero")
    return figure


def confusion(found: Confusion) -> go.Figure:
    """Draws, for the rows of each actual class, the share of each predicted class."""
    shares = [[cell / (sum(row) or 1) for cell in row] for row in found.rows]
    figure = go.Figure()
    names = [_text(name) for name in found.classes]
    figure.add_heatmap(
        x=names,
        y=names,
        z=shares,
        customdata=found.rows,
        texttemplate="%{z:.0%}" if len(names) <= _VALUES else None,
        colorscale="Blues",
        zmin=0,
        zmax=1,
        hovertemplate="%{y} taken for %{x}: %{z:.1%}, %{customdata:,.0f} rows<extra></extra>",
    )
    figure.update_layout(height=max(_HEIGHT, 90 + _ROW * len(names)))
    figure.update_xaxes(title="predicted", **_ticks(found.classes))
    figure.update_yaxes(title="actual", **_ticks(found.classes[::-1]))
    return figure


def grouped(buckets: Sequence[Bucket]) -> list[Bucket]:
    """Merges neighbours until each group has a twentieth of the rows; the last has the rest."""
    enough = sum(bucket.rows for bucket in buckets) / _POINTS
    groups: list[Bucket] = []
    rows = predictions = labels = 0.0
    for bucket in buckets:
        rows += bucket.rows
        predictions += bucket.predictions
        labels += bucket.labels
        if rows >= enough:
            groups.append(Bucket(rows, predictions, labels))
            rows = predictions = labels = 0.0
    if rows:
        groups.append(Bucket(rows, predictions, labels))
    return groups


def slices(evaluation: Evaluation, metric: str) -> go.Figure | None:
    """Draws a metric and its interval for each slice and the baseline; None without slices."""
    chosen = [one for one in evaluation.slices if metric in one.metrics]
    if len(chosen) < 2:
        return None
    figure = go.Figure()
    if any(metric in one.baseline for one in chosen):
        _add_slices(figure, "baseline", [s for s in chosen if metric in s.baseline], metric, True)
    _add_slices(figure, "this model", chosen, metric, False)
    overall = evaluation.overall
    if overall and metric in overall.metrics:
        figure.add_vline(x=overall.metrics[metric].value, line_dash="dot", line_width=1)
    figure.update_xaxes(title=metric.replace("_", " "), range=_range(chosen, metric))
    figure.update_layout(height=max(_HEIGHT, 90 + _ROW * len(chosen)))
    figure.update_yaxes(**_ticks([_slice_name(one) for one in chosen][::-1]))
    return figure


def _range(chosen: Sequence[Slice], metric: str) -> list[float]:
    """Returns an axis range for the values; the wide interval of a tiny slice is cut off."""
    values = [
        side[metric].value for s in chosen for side in (s.metrics, s.baseline) if metric in side
    ]
    margin = 0.3 * (max(values) - min(values)) or 0.1
    return [min(values) - margin, max(values) + margin]


def _add_slices(
    figure: go.Figure, name: str, chosen: Sequence[Slice], metric: str, baseline: bool
) -> None:
    found = [(one.baseline if baseline else one.metrics)[metric] for one in chosen]
    error = {}
    if any(m.high is not None for m in found):
        above = [m.high - m.value if m.high is not None else 0 for m in found]
        below = [m.value - m.low if m.low is not None else 0 for m in found]
        error = {"error_x": {"type": "data", "array": above, "arrayminus": below, "thickness": 1}}
    figure.add_scatter(
        name=name,
        y=[_text(_slice_name(one)) for one in chosen],
        x=[m.value for m in found],
        mode="markers",
        marker={"size": 9, "symbol": "diamond-open" if baseline else "circle"},
        hovertemplate="%{y}: %{x:.4f}<extra>" + name + "</extra>",
        **error,
    )


def _slice_name(one: Slice) -> str:
    return one.name or "all rows"


def distribution(sides: Mapping[str, Feature]) -> go.Figure | None:
    """Draws a feature's distribution in several sets of examples; None if it is empty.

    Args:
      sides: Name of the set, e.g. 'train' -> the feature there.
    """
    figure = go.Figure()
    if all(feature.kind == "text" for feature in sides.values()):
        first = next(iter(sides.values()), None)
        values = [value for value, _ in first.top[:_VALUES]] if first else []
        for name, feature in sides.items():
            counts = dict(feature.top)
            shares = [counts.get(value, 0) / max(feature.examples, 1) for value in values]
            figure.add_bar(name=name, x=[_text(value) for value in values], y=shares)
        figure.update_xaxes(**_ticks(values))
        figure.update_yaxes(tickformat=".0%")
        return figure if values else None
    for name, feature in sides.items():
        bins = [b for b in feature.bins if b.high > b.low and math.isfinite(b.high - b.low)]
        total = sum(b.count for b in bins)
        if total:
            figure.add_scatter(
                name=name,
                x=[*(b.low for b in bins), bins[-1].high],
                y=[*(b.count / total / (b.high - b.low) for b in bins), 0],
                mode="lines",
                line_shape="hv",
                hovertemplate="%{x:.4g}<extra>" + name + "</extra>",
            )
    figure.update_yaxes(showticklabels=False, rangemode="tozero")
    return figure if figure.data else None


def _text(value: str) -> str:
    """Escapes a text, since Plotly renders some HTML tags."""
    return html.escape(value)


def _ticks(values: Sequence[str]) -> dict[str, Any]:
    """Shortens long names on the axis only, so that names with the same start stay distinct."""
    short = [value if len(value) <= _LONGEST else value[: _LONGEST - 1] + "…" for value in values]
    return {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": [_text(value) for value in values],
        "tickmode": "array",
        "tickvals": [_text(value) for value in values],
        "ticktext": [_text(value) for value in short],
    }


def figure_to_json(figure: go.Figure) -> dict[str, Any]:
    """Returns data and layout as JSON values, without Plotly's colour template."""
    found: dict[str, Any] = figure.to_plotly_json()
    found["layout"].pop("template", None)
    return found
