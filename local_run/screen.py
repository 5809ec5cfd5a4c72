"""Shows a run to a person: progress while it lasts, and a table when it has ended."""

from __future__ import annotations

import threading
import time
from typing import Any, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from base.console import PlainConsole
from local_run.launches import Launch

_STYLES = {"running": "cyan", "complete": "green", "cached": "blue", "failed": "bold red"}


class Screen:
    """Shows the progress of a run: a live table on a terminal, elsewhere one line per event."""

    def __init__(self, terminal: TextIO, title: str):
        # Without a terminal rich assumes 80 columns and breaks the summary's lines.
        width = None if terminal.isatty() else 120
        self.console = PlainConsole(file=terminal, width=width)
        self._title = title
        self._launches: dict[str, Launch] = {}
        self._started: dict[str, float] = {}
        self._message = ""
        self._lock = threading.Lock()
        self._live: Live | None = None

    def __enter__(self) -> Screen:
        if self.console.is_terminal:
            self._live = Live(
                get_renderable=self._table,
                console=self.console,
                refresh_per_second=4,
                transient=True,
                redirect_stdout=False,  # printed text belongs in the log
                redirect_stderr=False,
            )
            self._live.start()
        else:
            self.console.print(self._title)
        return self

    def __exit__(self, *unused: object) -> None:
        if self._live:
            self._live.stop()

    def report(self, launch: Launch) -> None:
        """Shows that a component started or ended."""
        with self._lock:
            self._launches[launch.component] = launch
            self._message = ""
            if launch.state == "running":
                self._started[launch.component] = time.monotonic()
        if self._live is None:
            seconds = "" if launch.state == "running" else f" {launch.seconds:.1f} s"
            self.console.print(f"{launch.component}: {launch.state}{seconds}")

    def say(self, message: str) -> None:
        """Shows a component's progress message."""
        self._message = message
        if self._live is None:
            self.console.print(f"  {message}")

    def _table(self) -> Group:
        table = _component_table()
        with self._lock:
            for launch in self._launches.values():
                running = launch.state == "running"
                since = time.monotonic() - self._started.get(launch.component, time.monotonic())
                seconds = since if running else launch.seconds
                table.add_row(launch.component, _state(launch.state), f"{seconds:.1f}")
        return Group(Text(self._title, style="bold"), table, Text(self._message, style="dim"))

    def warn(self, text: str) -> None:
        """Shows a warning."""
        self.console.print(Text.assemble(("Warning:", "yellow"), " ", text), soft_wrap=True)

    def error(self, text: str) -> None:
        self.console.print(Text.assemble(("Error:", "bold red"), " ", text), soft_wrap=True)


def show_summary(
    console: Console, summary: dict[str, Any], folder: str, report: str | None = None
) -> None:
    """Shows the final table of components, seconds, rows and metrics, and the report's path."""
    table = _component_table()
    table.add_column("peak MiB", justify="right")
    for component in summary["components"]:
        peak = component["peak_mib"]
        table.add_row(
            component["id"],
            _state(component["state"]),
            f"{component['seconds']:.1f}",
            "" if peak is None else f"{peak:,}",
        )
    console.print(table)
    facts = Table.grid(padding=(0, 2))
    facts_shown = {**_facts(summary, folder), **({"report": report} if report else {})}
    for name, value in facts_shown.items():
        facts.add_row(Text(name, style="dim"), Text(value, overflow="fold"))
    console.print(facts)


def _component_table() -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("component")
    table.add_column("state")
    table.add_column("seconds", justify="right")
    return table


def _state(state: str) -> Text:
    return Text(state, style=_STYLES.get(state, ""))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value.is_integer() and abs(value) > 1 else f"{value:,.4f}"


def _interval(bounds: list[float] | None) -> str:
    return f"  (95 %: {bounds[0]:,.4f} to {bounds[1]:,.4f})" if bounds else ""


def _refused(summary: dict[str, Any]) -> str:
    """Returns one line for each metric that missed its threshold."""
    reasons = summary["not_blessed_because"] or ["see the evaluation's thresholds"]
    return "no: " + "\n".join(reasons)


def _trees(trees: dict[str, Any]) -> list[str]:
    """Returns the metrics of trainer.baseline, and what was different from the network."""
    lines = [
        f"{name} {_number(value)}{_interval(trees['intervals'].get(name))}"
        for name, value in trees["metrics"].items()
    ]
    return [*lines, *(f"({note})" for note in trees["notes"])]


def _facts(summary: dict[str, Any], folder: str) -> dict[str, str]:
    rows, metrics = summary["rows"], summary["metrics"]
    facts = {"run": f"{summary['run_id']} ({summary['state']})"}
    if rows:
        counts = ", ".join(f"{rows[name]:,} {name}" for name in rows if name != "read")
        facts["rows"] = f"{rows['read']:,} read = {counts}"
    training = summary.get("training") or {}
    if training.get("by_rows"):
        chosen = ", ".join(f"{name} {value}" for name, value in training["by_rows"].items())
        facts["training"] = f"{chosen}: defaults for {training['rows']:,} training rows"
    if metrics:
        facts["metrics"] = "\n".join(
            f"{name} {_number(value)}{_interval(summary['intervals'].get(name))}"
            for name, value in metrics.items()
            if isinstance(value, float)
        )
    if trees := summary.get("trees"):
        facts["trees"] = "\n".join(_trees(trees))
    if summary["blessed"] is not None:
        facts["blessed"] = "yes" if summary["blessed"] else _refused(summary)
    problem = training.get("problem")
    if found := [*([problem] if problem else []), *summary["telling_features"]]:
        facts["check"] = "\n".join(found)
    if canary := summary.get("canary"):
        refused = f"no: {canary['reason'] or 'see the log'}"
        facts["canary"] = "a server answers as trained" if canary["blessed"] else refused
    if summary["pushed_model"]:
        facts["pushed model"] = summary["pushed_model"]
    facts["time and memory"] = f"{summary['seconds']:.0f} s, peak {summary['peak_mib']:,} MiB"
    facts["run folder"] = folder
    return facts
