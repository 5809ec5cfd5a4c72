"""Renders a comparison as a tree: `python -m lineage diff`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from lineage.command.render import plain, table, titled
from lineage.compare import Comparison, ValueChange
from lineage.text import NOT_RECORDED

_FILES_SHOWN = 5
_SHORT = 16  # characters of a hash; two hashes never share so many by chance
_STYLES = {"added": "green", "removed": "red", "changed": "yellow"}


def comparison_tree(found: Comparison, *, all_files: bool = False) -> Tree:
    """Renders a comparison, with every file that differs or only the first ones."""
    ends = (found.before, found.after)
    tree = Tree(titled("diff", *(f"{side.kind} {side.name}" for side in ends)))
    if found.same:
        tree.add(plain("the same artifacts: everything came from the cache", "green"))
    otherwise = dict.fromkeys(found.not_recorded, NOT_RECORDED)
    _add(tree, "data", found.data, otherwise)
    _add_files(tree, found, all_files)
    _add(tree, "code", found.code, otherwise)
    _add(tree, "parameters", found.parameters, otherwise)
    metrics = tree.add(plain("metrics", "bold"))
    metrics.add(_metrics(found.metrics) if found.metrics else plain("none are known", "dim"))
    return tree


def _add(
    tree: Tree, title: str, changes: Sequence[ValueChange], otherwise: Mapping[str, str]
) -> None:
    branch = tree.add(plain(title, "bold"))
    branch.add(_changes(changes) if changes else plain(otherwise.get(title, "the same"), "dim"))


def _changes(changes: Iterable[ValueChange]) -> Table:
    result = table("what", "before", "after")
    for change in changes:
        result.add_row(plain(change.name), _value(change.before), _value(change.after))
    return result


def _metrics(changes: Iterable[ValueChange]) -> Table:
    result = table("what", ">before", ">after", ">change")
    for change in changes:
        numbers = [v for v in (change.before, change.after) if isinstance(v, int | float)]
        moved = f"{numbers[1] - numbers[0]:+.4f}" if len(numbers) == 2 else ""
        result.add_row(
            plain(change.name), _number(change.before), _number(change.after), plain(moved)
        )
    return result


def _value(value: Any) -> Text:
    if value is None:
        return plain("-", "dim")
    if isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef"):
        return plain(f"{value[:_SHORT]}…")
    return plain(f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value)


def _number(value: Any) -> Text:
    return plain("-", "dim") if value is None else plain(f"{value:.4f}")


def _add_files(tree: Tree, found: Comparison, all_files: bool) -> None:
    branch = tree.add(plain("source files", "bold"))
    files = found.files
    if files is None:
        branch.add(plain(found.files_problem, "yellow"))
    elif not files:
        branch.add(plain("the same", "dim"))
    shown = (files or ()) if all_files else (files or ())[:_FILES_SHOWN]
    for file in shown:
        branch.add(
            plain(f"{file.change:8}", _STYLES[file.change]).append_text(
                plain(f" {file.source}  {file.path}", "default")
            )
        )
    if files and len(files) > len(shown):
        branch.add(plain(f"{len(files) - len(shown):,} more (--files lists them)", "dim"))
