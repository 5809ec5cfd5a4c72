"""Renders the report as one self-contained HTML text: `render(gather(...))`."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2
import plotly.offline

from base.foreign_json import parse
from lineage.report import figures
from lineage.report.facts import RunFacts
from lineage.report.graph import Drawing, Node, draw_graph
from lineage.report.statistics import Feature
from lineage.templates import environment
from lineage.text import duration
from metadata.graph import Graph
from metadata.records import Artifact, Execution

_HERE = Path(__file__).parent
_CURVES = ("loss", "auc", "accuracy", "macro_auc", "rmse")
_ORDER = ("auc", "grouped_auc", "auc_pr", "log_loss", "calibration", "ece", "accuracy", "macro_auc")
_SLICED = ("auc", "log_loss", "calibration", "accuracy", "macro_auc", "rmse", "mae")


def render(facts: RunFacts) -> str:
    """Returns the whole page; this takes about a second, mostly for Plotly's four megabytes."""
    shown = _figures(facts)
    scripts = [plotly.offline.get_plotlyjs(), _text("page.js")]
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            facts=facts,
            run=facts.run,
            summary=facts.summary,
            pipeline=_pipeline(facts),
            origin=_origin(facts.origin) if facts.origin else None,
            features=_feature_cards(facts),
            metrics=_metrics(facts),
            decisions=_decisions(facts),
            figures={name: figures.figure_to_json(figure) for name, figure in shown.items()},
            style=_text("page.css"),
            scripts=scripts,
            hashes=[_sha256(script) for script in scripts],
        )
    )


@functools.cache
def _environment() -> jinja2.Environment:
    return environment(
        _HERE,
        {
            "number": lambda number: "-" if number is None else f"{number:.4g}",
            "metric": lambda number: "-" if number is None else _metric(number),
            "share": lambda number: f"{number:.1%}",
            "percent": lambda number: f"{100 * number:.3g} %",
            "data": _as_script_data,
            "value": _value,
        },
    )


def _text(name: str) -> str:
    return (_HERE / name).read_text("utf-8")


def _sha256(script: str) -> str:
    """Returns the hash by which a content security policy allows a script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _as_script_data(value: Any) -> str:
    """Returns JSON that cannot end a <script> element; NaN and infinity become null."""
    text = json.dumps(_plain(value), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return _plain(value.tolist()) if hasattr(value, "tolist") else value  # a NumPy value


def _metric(number: float) -> str:
    return f"{number:,.0f}" if float(number).is_integer() and abs(number) > 1 else f"{number:.4f}"


def _value(value: Any) -> str:
    """Formats a parameter; JSON in a text is indented."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            value = parse(value, finite=False)
        except ValueError:
            return str(value)
    return value if isinstance(value, str) else json.dumps(value, indent=1, ensure_ascii=False)


def _figures(facts: RunFacts) -> dict[str, Any]:
    """Returns name -> figure for everything that is known."""
    peaks = {e.component: facts.peak_mib(e.component) for e in facts.run.components}
    found: dict[str, Any] = {
        "timings": figures.timings(facts.run, peaks),
        "memory": figures.memory(facts.run, peaks),
    }
    for metric in _CURVES:
        if any(one.metric == metric for one in facts.curves):
            found[f"curve-{metric}"] = figures.curve(metric, facts.curves)
    if facts.evaluation:
        if facts.evaluation.calibration:
            found["calibration"] = figures.calibration(facts.evaluation.calibration)
        if facts.evaluation.confusion:
            found["confusion"] = figures.confusion(facts.evaluation.confusion)
        for metric in _SLICED:
            found[f"slices-{metric}"] = figures.slices(facts.evaluation, metric)
    if facts.decision:
        found["decision-curve"] = figures.decision_curve(facts.decision)
        found["decision-cost"] = figures.decision_cost(facts.decision)
    for number, name in enumerate(_feature_names(facts)):
        found[f"feature-{number}"] = figures.distribution(_sides(facts, name))
    return {name: figure for name, figure in found.items() if figure is not None}


def _feature_names(facts: RunFacts) -> list[str]:
    """Returns feature names, those with an anomaly or too much drift first."""
    marked = {a.feature for a in facts.anomalies} | {d.feature for d in facts.drift if d.too_far}
    names = {name for features in facts.features.values() for name in features}
    return sorted(names, key=lambda name: (name not in marked, name))


def _sides(facts: RunFacts, name: str) -> dict[str, Feature]:
    found = {
        split: features[name] for split, features in facts.features.items() if name in features
    }
    earlier = facts.earlier.get("train", {}).get(name)
    return {**found, "train, run before": earlier} if earlier else found


def _feature_cards(facts: RunFacts) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "sides": _sides(facts, name),
            "anomalies": [a for a in facts.anomalies if a.feature == name],
            "drift": [d for d in facts.drift if d.feature == name],
        }
        for name in _feature_names(facts)
    ]


def _metrics(facts: RunFacts) -> list[dict[str, Any]]:
    """Returns the evaluation's metrics beside others', then those of the summary alone."""
    overall = facts.evaluation.overall if facts.evaluation else None
    baseline = overall.baseline if overall else {}
    trees = facts.trees.metrics if facts.trees else {}
    bounds = facts.trees.intervals if facts.trees else {}
    rows = [
        {
            "name": name,
            "value": metric.value,
            "low": metric.low,
            "high": metric.high,
            "baseline": baseline[name].value if name in baseline else None,
            "trees": trees.get(name),
            "trees_bounds": bounds.get(name),
        }
        for name, metric in sorted((overall.metrics if overall else {}).items(), key=_place)
    ]
    known = {row["name"] for row in rows}
    others = {n: v for n, v in facts.summary.get("metrics", {}).items() if n not in known}
    nothing = dict.fromkeys(("low", "high", "baseline", "trees", "trees_bounds"))
    return rows + [{"name": name, "value": value, **nothing} for name, value in others.items()]


def _decisions(facts: RunFacts) -> list[dict[str, Any]]:
    """Returns the results of the decision where it was chosen, and where the model was judged."""
    overall = facts.evaluation.overall if facts.evaluation else None
    judged = overall.metrics if overall else {}
    return [
        {
            "name": name,
            "chosen": getattr(facts.decision, name),
            "judged": judged.get(f"decision_{name}"),
        }
        for name in ("share", "precision", "recall", "cost")
        if facts.decision and (name != "cost" or facts.decision.costs)
    ]


def _place(named: tuple[str, Any]) -> tuple[int, str]:
    """Returns a sort key that puts the most important metrics first."""
    name = named[0]
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)


def _pipeline(facts: RunFacts) -> Drawing:
    """Draws the run's components; each artifact of an earlier run gets its own box."""
    last = {e.component or str(e.id): e for e in facts.run.components}
    # An artifact that a resolver picked is drawn as its output, unless this run made it.
    picked = {i: name for name, e in last.items() for i in _ids(e.resolved)}
    put_out = picked | {i: name for name, e in last.items() for i in _ids(e.outputs)}
    nodes = [_component(execution) for execution in last.values()]
    key_of = {name: str(execution.id) for name, execution in last.items()}
    edges, outside = [], {}
    for name, execution in last.items():
        for artifact_id in _ids(execution.inputs):
            source = put_out.get(artifact_id)
            if source is None and artifact_id in facts.artifacts:
                source = f"earlier-{artifact_id}"
                outside[source] = _artifact(facts.artifacts[artifact_id], "from an earlier run")
            if source:
                edges.append((key_of.get(source, source), key_of[name]))
    return draw_graph([*outside.values(), *nodes], edges)


def _component(execution: Execution) -> Node:
    return Node(
        str(execution.id),
        execution.title,
        f"{execution.state}, {duration(execution.seconds)}",
        execution.state,
    )


def _artifact(artifact: Artifact, subtitle: str = "") -> Node:
    title = f"{artifact.type} {artifact.id}"
    return Node(f"earlier-{artifact.id}", title, subtitle or artifact.name, "artifact")


def _origin(graph: Graph) -> Drawing:
    """Draws artifacts, linked by the executions between them."""
    nodes = [
        Node(str(artifact.id), artifact.type, _made(graph, artifact), "artifact")
        for artifact in sorted(graph.artifacts.values(), key=lambda a: a.id)
    ]
    read = [(e.execution_id, e.artifact_id) for e in graph.edges if e.kind == "input"]
    made = {
        (a, edge.artifact_id)
        for edge in graph.edges
        if edge.kind == "output"
        for execution, a in read
        if execution == edge.execution_id
    }
    return draw_graph(nodes, [(str(a), str(b)) for a, b in made])


def _made(graph: Graph, artifact: Artifact) -> str:
    maker = graph.maker(artifact.id)
    return f"{artifact.id}, by {maker.title}" if maker else str(artifact.id)


def _ids(by_key: dict[str, tuple[int, ...]]) -> Iterable[int]:
    for ids in by_key.values():
        yield from ids
