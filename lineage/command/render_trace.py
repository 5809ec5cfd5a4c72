"""Renders a trace as a tree, from the served model down to the source files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.text import Text
from rich.tree import Tree

from lineage.command.render import (
    artifact_title,
    labelled,
    plain,
    titled,
    version_title,
)
from lineage.command.render_served import serving_labels
from lineage.dataset import Accounts, Dataset, Source
from lineage.served import ServedModel
from lineage.text import NOT_RECORDED, duration, number_in, size, when
from lineage.trace import Trace
from metadata import names
from metadata.records import Artifact

_VERDICTS = {
    True: plain("blessed", "green"),
    False: plain("not blessed", "bold red"),
    None: plain(f"verdict {NOT_RECORDED}", "yellow"),
}
_FILES_SHOWN = 3  # files of a source, unless all are asked for


def trace_tree(
    found: Trace, serving: ServedModel, *, all_files: bool = False, ticks: bool = True
) -> Tree:
    """Renders a trace.

    Args:
      found: Trace to render.
      serving: Serving periods and traffic of the model.
      all_files: Whether to list every source file, or the first and last of each source.
      ticks: Whether the screen can show a tick.
    """
    tree = Tree(titled(f"PushedModel {found.pushed.id}", version_title(found.version)))
    tree.add(labelled("served from", found.destination or NOT_RECORDED))
    tree.add(labelled("answers for", serving_labels(serving)))
    if serving.withdrawn is not None:
        tree.add(labelled("withdrawn", plain(serving.withdrawn, "yellow")))
    _add_made_by(tree, found, found.pushed)
    _add_model(tree, found)
    _add_evaluation(tree, found)
    for dataset in found.datasets:
        _add_dataset(tree, dataset, all_files, ticks)
    if not found.datasets:
        tree.add(plain("the examples it was made from are not recorded", "yellow"))
    return tree


def accounts_line(accounts: Accounts, ticks: bool = True) -> Text:
    """Returns e.g. '306 read = 193 train + 98 eval + 12 quarantined + 3 dropped  ✓ adds up'."""
    parts = {**accounts.splits, "quarantined": accounts.quarantined, "dropped": accounts.dropped}
    total = sum(parts.values())
    right = " + ".join(f"{rows:,} {name}" for name, rows in parts.items())
    sign = "=" if accounts.adds_up else "≠" if ticks else "!="
    text = plain(f"{accounts.read:,} read {sign} {right}")
    if accounts.adds_up:
        return text.append_text(plain("  ✓ adds up" if ticks else "  adds up", "green"))
    if not accounts.exact:
        return text.append_text(plain("  row accounting is off: the ETL aggregates", "dim"))
    gap = accounts.read - total
    what = f"{gap:,} rows unaccounted for" if gap > 0 else f"{-gap:,} rows too many"
    return text.append_text(plain(f"  {'✗ ' if ticks else ''}{what}", "bold red"))


def _add_made_by(node: Tree, found: Trace, artifact: Artifact) -> None:
    maker = found.maker(artifact)
    if maker is None:
        node.add(labelled("made by", NOT_RECORDED))
        return
    spent = f"{when(maker.started)}, {duration(maker.seconds)}"
    node.add(labelled("made by", maker.title, f"in run {maker.run_id or '-'}", spent))


def _add_model(tree: Tree, found: Trace) -> None:
    if found.model is None:
        tree.add(plain("the model it was made from is not recorded", "yellow"))
        return
    model = tree.add(artifact_title(found.model))
    _add_made_by(model, found, found.model)
    if found.base_model:
        model.add(labelled("warm start from", artifact_title(found.base_model)))
    if found.decision:
        model.add(labelled("decision", *_decision(found.decision.properties)))
    for artifact in (found.transform_graph, found.schema):
        if artifact:
            model.add(artifact_title(artifact))


def _decision(properties: Mapping[str, Any]) -> list[str]:
    """Returns the threshold and the budget in words, as far as they are recorded."""
    threshold, budget = (number_in(properties.get(n)) for n in (names.THRESHOLD, names.BUDGET))
    said = [NOT_RECORDED if threshold is None else f"review from a score of {threshold:.6g} on"]
    return [*said, f"budget {100 * budget:g} % of the examples"] if budget is not None else said


def _add_evaluation(tree: Tree, found: Trace) -> None:
    blessing = found.blessing
    if blessing is None:
        pusher = found.maker(found.pushed)
        known = pusher is not None and bool(pusher.inputs)
        tree.add(plain("pushed without a blessing" if known else "blessing not recorded", "yellow"))
        return
    verdict = _VERDICTS[blessing.blessed].copy()
    baseline = blessing.baseline_model_id
    against = f"compared with model {baseline}" if baseline else "no model to compare with"
    if blessing.blessed is None:
        against = ""
    node = tree.add(titled(f"ModelBlessing {blessing.artifact.id}", verdict, against))
    if found.evaluation:
        node.add(artifact_title(found.evaluation))
    if found.metrics:
        node.add(labelled("metrics", ", ".join(f"{n} {v:.5g}" for n, v in found.metrics.items())))
    else:
        node.add(
            labelled(
                "metrics",
                "unknown: neither a run_summary.json nor the evaluation is on this machine"
                if found.evaluation
                else "not recorded: there is no ModelEvaluation beside the blessing",
            )
        )
    if found.trees:
        named = f"({found.trees.type} {found.trees.id})"
        node.add(labelled("trees", _metrics_of_trees(found.trees), named))


def _metrics_of_trees(comparison: Artifact) -> str:
    named = sorted(comparison.properties.items())
    return ", ".join(
        f"{name.removeprefix(names.METRIC)} {value:.5g}"
        for name, value in named
        if name.startswith(names.METRIC) and isinstance(value, float)
    )


def _add_dataset(tree: Tree, dataset: Dataset, all_files: bool, ticks: bool) -> None:
    span = f"span {dataset.span}" if dataset.span is not None else ""
    first, _, last = (dataset.spans or "").partition("-")
    covers = f"(spans {dataset.spans})" if first != last else ""
    node = tree.add(artifact_title(dataset.examples).append(f"  {span} ").append(plain(covers)))
    node.add(labelled("made in run", dataset.run_id or NOT_RECORDED))
    if dataset.etl:
        node.add(labelled("ETL", dataset.etl, f"code {dataset.etl_code_sha256}"))
    if dataset.input_fingerprint:
        node.add(labelled("input fingerprint", dataset.input_fingerprint))
    if dataset.labels_as_of:
        node.add(labelled("labels as of", dataset.labels_as_of))
    if dataset.accounts:
        rows = node.add(labelled("rows", accounts_line(dataset.accounts, ticks)))
        _add_reasons(rows, dataset)
    else:
        node.add(labelled("rows", "not counted by this ExampleGen"))  # only SparkExampleGen does
    for statistics in dataset.statistics:
        node.add(artifact_title(statistics))
    _add_manifest(node, dataset)
    if dataset.sources:
        base = f"below {dataset.input_base}" if dataset.input_base else ""
        sources = node.add(labelled("sources", base))
        for source in dataset.sources:
            _add_source(sources, source, all_files)
    else:
        below = f"  below {dataset.input_base}" if dataset.input_base else ""
        node.add(labelled("sources", f"files not recorded by this ExampleGen{below}"))


def _add_reasons(node: Tree, dataset: Dataset) -> None:
    for source, reasons in dataset.quarantined_reasons.items():
        if reasons:
            node.add(labelled("quarantined", f"{source}: {_counts(reasons.items())}"))
    if dataset.dropped_reasons:
        node.add(labelled("dropped", _counts(dataset.dropped_reasons.items())))
    if dataset.quarantine:
        node.add(artifact_title(dataset.quarantine))


def _add_manifest(node: Tree, dataset: Dataset) -> None:
    style = "yellow" if dataset.lost_manifest else ""
    manifest = labelled("manifest", dataset.manifest, plain(dataset.manifest_problem or "", style))
    branch = node.add(manifest)
    for line in dataset.accounts.differs if dataset.accounts else ():
        branch.add(plain(f"differs: {line}", "bold red"))


def _add_source(node: Tree, source: Source, all_files: bool) -> None:
    title = titled(source.name, source.format, source.pattern)
    if source.rows_read is not None:
        title.append(f"  {source.rows_read:,} rows")
    if not source.files:
        node.add(title.append("  files unknown without the manifest", style="yellow"))
        return
    count = len(source.files)
    title.append(f"  {count:,} file{'s' if count > 1 else ''}, {size(source.bytes)}")
    branch = node.add(title)
    shown = source.files
    if count > _FILES_SHOWN and not all_files:
        shown = (source.files[0], source.files[-1])
    for number, file in enumerate(shown):
        if number == 1 and len(shown) < count:
            branch.add(plain(f"{count - 2:,} more (--files lists them)", "dim"))
        branch.add(plain(f"{file.path}  {file.bytes:,} B  {file.checksum}"))


def _counts(reasons: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{reason} {rows:,}" for reason, rows in reasons)
