"""Renders when versions served: `python -m lineage served`."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from lineage.command.render import labelled, plain, table, table_without, titled, version_title
from lineage.served import ServedModel, ServingPeriod, count_names
from lineage.text import NOT_RECORDED, when

_REASON = 40  # characters of a withdrawal's reason in the table
_METRICS = (
    "auc", "accuracy", "log_loss", "normalized_entropy", "calibration",
    "rmse", "mae", "bias", "normalized_rmse",
)  # fmt: skip


def served_table(models: list[ServedModel], without: Collection[str] = ()) -> Table:
    """Renders versions as a table without some columns."""
    if len({_folder(model) for model in models}) <= 1:
        without = {*without, "folder"}
    counts = count_names(models)
    headings = ("!version", "!pushed", "!answers for", "!since", ">hours")
    rest = (*(f">{name}" for name in counts), "withdrawn", "folder")
    rows = (_served_row(model, counts) for model in models)
    return table_without((*headings, *rest), rows, without)


def _served_row(model: ServedModel, counts: Iterable[str]) -> list[Text | str]:
    last = max(model.periods, key=lambda p: p.since, default=None)
    return [
        plain(model.version, "bold" if model.labels else ""),
        when(model.pushed.created),
        serving_labels(model),
        when(last.since) if last and model.labels else "-",
        str(len({hour.hour for hour in model.hours})),
        *(f"{model.counts.get(name, 0):,}" for name in counts),
        plain(_shortened(model.withdrawn or "-")),
        plain(_folder(model)),
    ]


def _shortened(reason: str) -> str:
    """Shortens a reason; the version's own tree has all of it."""
    return reason if len(reason) <= _REASON else reason[: _REASON - 1] + "…"


def served_tree(model: ServedModel) -> Tree:
    tree = Tree(titled(f"PushedModel {model.pushed.id}", version_title(model.version)))
    tree.add(labelled("served from", model.destination or NOT_RECORDED))
    tree.add(labelled("answers for", serving_labels(model)))
    if model.withdrawn is not None:
        tree.add(labelled("withdrawn", plain(model.withdrawn, "yellow")))
    periods = tree.add(plain("periods", "dim"))
    if not model.labels_recorded:
        periods.add(plain("not recorded: this Pusher keeps no labels", "dim"))
    for period in model.periods:
        periods.add(_period(period))
    if not model.hours:
        tree.add(
            labelled(
                "traffic", "none recorded; hours are, by: python -m streaming evaluate --config …"
            )
        )
        return tree
    total = ", ".join(f"{count:,} {name}" for name, count in model.counts.items())
    tree.add(labelled("traffic", plain(total))).add(_hours(model))
    return tree


def _hours(model: ServedModel) -> Table:
    names = [name for name in _METRICS if any(name in hour.metrics for hour in model.hours)]
    counts = count_names([model])
    result = table("!hour", "!arm", *(f">{name}" for name in (*counts, *names)))
    for hour in model.hours:
        values = [hour.metrics.get(name) for name in names]
        result.add_row(
            plain(hour.hour),
            plain(hour.arm or "-"),
            *(f"{hour.counts.get(name, 0):,}" for name in counts),
            *("-" if value is None else f"{value:.4f}" for value in values),
        )
    return result


def serving_labels(model: ServedModel) -> Text:
    if model.labels:
        return plain(", ".join(model.labels), "green")
    if not model.labels_recorded:
        return plain(NOT_RECORDED, "dim")
    return plain("not any more" if model.periods else "never", "dim")


def _folder(model: ServedModel) -> str:
    """Returns the folder of all versions, a path or a URI."""
    return model.destination.rstrip("/").rpartition("/")[0]


def _period(period: ServingPeriod) -> Text:
    until = f"until {when(period.until)}" if period.until else "until now"
    return titled(period.label, f"from {when(period.since)}", until)
