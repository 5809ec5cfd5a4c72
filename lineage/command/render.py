"""Renders records as rich tables and trees.

Every name, path and property comes from outside and may contain anything. It becomes rich Text,
never markup, with visible control characters.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from lineage.impact import Impact, Push
from lineage.listing import RunLine
from lineage.text import NOT_RECORDED, duration, when
from metadata.records import Artifact, Execution, Run

STATE_STYLES = {
    "complete": "green",
    "cached": "cyan",
    "failed": "bold red",
    "running": "yellow",
    "canceled": "magenta",
}


def plain(value: Any, style: str = "") -> Text:
    """Returns text in which control characters are escaped."""
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value)
    )
    return Text(shown, style=style, overflow="fold")


def state(value: str) -> Text:
    return plain(value, STATE_STYLES.get(value, ""))


def labelled(label: str, *values: Any) -> Text:
    """Returns 'label  value value' with a dim label; empty values are left out."""
    return _row(plain(label, "dim"), values)


def titled(kind: str, *values: Any) -> Text:
    """Returns a node's title, 'Model 12  /path', with a bold kind; empty values are left out."""
    return _row(plain(kind, "bold"), values)


def _row(text: Text, values: tuple[Any, ...]) -> Text:
    for value in values:
        shown = value if isinstance(value, Text) else plain(value)
        if shown.plain:
            text.append("  ").append_text(shown)
    return text


def artifact_title(artifact: Artifact) -> Text:
    return titled(f"{artifact.type} {artifact.id}", artifact.uri or f"uri {NOT_RECORDED}")


def version_title(version: str) -> str:
    return f"version {version or NOT_RECORDED}"


def table(*headings: str) -> Table:
    """Makes a table; '>' before a heading right-aligns its column, '!' keeps it from folding."""
    result = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in headings:
        result.add_column(
            plain(heading.lstrip(">!")),  # an application may have named it
            justify="right" if heading.startswith(">") else "left",
            overflow="fold",
            no_wrap=heading.startswith(("!", ">")),  # a folded number would be misread
        )
    return result


def table_without(
    headings: Sequence[str], rows: Iterable[Sequence[Text | str]], without: Collection[str]
) -> Table:
    """Makes a table of rows without some of its columns."""
    kept = [n for n, heading in enumerate(headings) if heading.lstrip(">!") not in without]
    result = table(*(headings[n] for n in kept))
    for row in rows:
        result.add_row(*(row[n] for n in kept))
    return result


def run_table(lines: list[RunLine], without: Collection[str] = ()) -> Table:
    """Renders runs as a table without some columns."""
    headings = ("!run", "pipeline", "!started", ">span", "!state", "components", ">seconds")
    return table_without((*headings, "!version"), map(_run_row, lines), without)


def _run_row(line: RunLine) -> list[Text | str]:
    counts = ", ".join(f"{number} {name}" for name, number in line.components.items())
    failed = f" ({', '.join(line.failed)})" if line.failed else ""
    return [
        plain(line.run_id),
        plain(line.pipeline or "-"),
        when(line.started),
        plain("-" if line.span is None else line.span),
        state(line.state),
        plain((counts or NOT_RECORDED) + failed),
        f"{line.seconds:,.1f}",
        plain(line.pushed_version or "-"),
    ]


def run_tree(run: Run, error: str | None = None, log: Path | None = None) -> Tree:
    """Renders a run, with its error and the path of its log if they are known."""
    title = titled(f"run {run.run_id}", run.pipeline, when(run.started), state(run.state))
    tree = Tree(title.append(f"  {duration(run.seconds)}"))
    rows = table("!component", "!state", ">seconds", ">execution", "outputs")
    for execution in run.components:
        rows.add_row(
            plain(execution.title),
            state(execution.state),
            f"{execution.seconds:,.1f}",
            str(execution.id),
            plain(_ids(execution.outputs or execution.resolved)),
        )
    tree.add(rows)
    if error:
        tree.add(labelled("error", plain(error, "bold red")))
    if log:
        tree.add(labelled("log", log))
    return tree


def execution_tree(execution: Execution, artifacts: Mapping[int, Artifact]) -> Tree:
    """Renders an execution with the artifacts it read or made."""
    title = titled(f"execution {execution.id}", execution.title, state(execution.state))
    tree = Tree(title.append(f"  {duration(execution.seconds)}"))
    tree.add(labelled("type", execution.type))
    tree.add(labelled("run", execution.run_id or "-"))
    tree.add(labelled("started", when(execution.started)))
    sides = {
        "inputs": execution.inputs,
        "outputs": execution.outputs,
        "picked": execution.resolved,
    }
    if not any(sides.values()):
        tree.add(labelled("inputs and outputs", NOT_RECORDED))
    for name, by_key in sides.items():
        if by_key:
            branch = tree.add(plain(name, "dim"))
            for key, ids in by_key.items():
                for artifact_id in ids:
                    branch.add(labelled(key, _artifact(artifacts, artifact_id)))
    _add_properties(tree, execution.properties)
    return tree


def artifact_tree(artifact: Artifact, maker: Execution | None, readers: list[Execution]) -> Tree:
    """Renders an artifact with the executions that made and read it."""
    tree = Tree(titled(f"artifact {artifact.id}", artifact.type, artifact.name))
    tree.add(labelled("uri", artifact.uri or NOT_RECORDED))
    tree.add(labelled("created", when(artifact.created), f"({artifact.state})"))
    tree.add(labelled("made by", _execution(maker) if maker else NOT_RECORDED))
    if readers:
        branch = tree.add(plain("read by", "dim"))
        for reader in readers:
            branch.add(_execution(reader))
    _add_properties(tree, artifact.properties)
    return tree


def impact_tree(found: Impact) -> Tree:
    tree = _asked(found)
    if not (found.models or found.evaluations or found.pushes):
        tree.add(plain("nothing was trained from it yet"))
    for made in found.models:
        model = tree.add(artifact_title(made.artifact))
        model.add(labelled("made by", made.component or NOT_RECORDED, _in_run(made.run_id)))
        for evaluation in found.evaluations:
            if evaluation.model_id == made.artifact.id:
                title = artifact_title(evaluation.artifact)
                model.add(title.append_text(plain(f"  {_in_run(evaluation.run_id)}")))
        for push in found.pushes:
            if push.model_id == made.artifact.id:
                model.add(_pushed(push))
    others = [e for e in found.evaluations if not e.trained_from_it]
    others_pushed = [p for p in found.pushes if not p.trained_from_it]
    if others or others_pushed:
        branch = tree.add(plain("evaluated on it, but trained from other data", "dim"))
        for evaluation in others:
            branch.add(artifact_title(evaluation.artifact))
        for push in others_pushed:
            branch.add(_pushed(push))
    runs = tree.add(plain(f"used by {len(found.runs)} run{'s' * (len(found.runs) != 1)}", "dim"))
    for run_id in found.runs:
        runs.add(plain(run_id))
    return tree


def _asked(found: Impact) -> Tree:
    tree = Tree(artifact_title(found.artifact))
    for other in found.artifacts[1:]:
        tree.add(titled("and", artifact_title(other)))
    if found.unknown:
        which = ", ".join(map(str, found.unknown))
        text = f"not known of Examples {which}: their manifests cannot be read here"
        tree.add(plain(text, "yellow"))
    if found.unrecorded:
        which = ", ".join(map(str, found.unrecorded))
        text = f"not recorded for Examples {which}: SparkExampleGen did not make them"
        tree.add(plain(text, "yellow"))
    return tree


def _in_run(run_id: str) -> str:
    return f"in run {run_id or '-'}"


def _pushed(push: Push) -> Text:
    title = f"pushed as {version_title(push.version)}"
    text = titled(title, push.destination, _in_run(push.run_id))
    if push.counts:
        name, count = next(iter(push.counts.items()))
        text.append_text(plain(f"  {count:,} {name}"))
    if push.labels:
        text.append(f"  answers for {', '.join(push.labels)}", style="bold yellow")
    return text


def _execution(execution: Execution) -> Text:
    name = f"{execution.title} (execution {execution.id})"
    return (
        plain(name)
        .append("  ")
        .append_text(state(execution.state))
        .append_text(plain(f"  in run {execution.run_id or '-'}"))
    )


def _artifact(artifacts: Mapping[int, Artifact], artifact_id: int) -> Text:
    known = artifacts.get(artifact_id)
    return artifact_title(known) if known else plain(f"artifact {artifact_id}")


def _ids(by_key: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{key} {'/'.join(map(str, ids))}" for key, ids in by_key.items())


def _add_properties(tree: Tree, properties: Mapping[str, Any]) -> None:
    if properties:
        branch = tree.add(plain("properties", "dim"))
        for name, value in properties.items():
            branch.add(labelled(name, " ".join(str(value).split())))
