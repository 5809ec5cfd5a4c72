"""Prints a round to the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from streaming.layout import hour_name, hour_start
from streaming.online_evaluation.metrics import ServedMetrics
from streaming.online_evaluation.rounds import EvaluationRound
from streaming.online_evaluation.served_rows import EventNames

_SHOWN_FEATURES = 5


def show(console: Console, found: EvaluationRound) -> None:
    """Prints the new metrics and drift, and the decision."""
    problems = found.problems
    if any(found.metrics.values()):
        console.print(_metrics(found.names, found.titles, found.metrics))
    if found.at_last is not None:
        if any(found.at_last.metrics.values()):
            console.print(f"by {found.at_last.names.positives}, which are complete now:")
            console.print(
                _metrics(found.at_last.names, found.at_last.titles, found.at_last.metrics)
            )
        problems = {**found.at_last.problems, **problems}
    for hour, problem in problems.items():
        again = f"fix it, then: python -m streaming replay --hour {hour_start(hour):%Y-%m-%dT%H}"
        console.print(f"{hour_name(hour)} is left out: {problem}; {again}", soft_wrap=True)
    for hour, distances in found.drift.items():
        drifted = [one for one in distances if one.drifted]
        names = ", ".join(
            f"{d.feature} ({d.against}) {d.value:.3f}" for d in drifted[:_SHOWN_FEATURES]
        )
        rest = len(drifted) - _SHOWN_FEATURES
        more = f" and {rest} more" if rest > 0 else ""
        said = f"drift of {names}{more}" if drifted else "no feature has drifted"
        console.print(f"{hour_name(hour)}: {said}")
    console.print(f"{found.decision.what}: {found.decision.reason}")
    for done in (found.settled, found.done):
        if done is not None:
            shown = f"python -m lineage show execution:{done.execution}"
            console.print(f"{done.kind}: done, and recorded: {shown}")
    console.print(f"see {found.page}", soft_wrap=True)


def _metrics(
    names: EventNames, titles: Mapping[str, str], metrics: Mapping[int, Sequence[ServedMetrics]]
) -> Table:
    table = Table("hour", "arm", "version", names.events, *titles.values())
    for hour, served in metrics.items():
        for one in served:
            count = f"{one.events:,}"
            if one.unlabelled:
                count += f" ({one.unlabelled:,} without a label yet)"
            figures = (_with_interval(one, name) for name in titles)
            table.add_row(hour_name(hour), one.arm, str(one.version), count, *figures)
    return table


def _with_interval(one: ServedMetrics, name: str) -> str:
    low, high = one.intervals[name]
    return f"{one.values[name]:.4f} ({low:.4f} to {high:.4f})"
