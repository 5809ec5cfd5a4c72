"""Decides the task and the classes by the values of the label's column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from applications.commands.scaffold.columns import TYPED
from applications.commands.scaffold.profile import ColumnProfile, TableProfile
from base.errors import ComponentError
from tabular.feature_set import TaskName

_MOST_CLASSES, _NUMERIC_CLASSES = 100, 10
_FEWEST_OF_A_CLASS, _SMALLEST_CLASS = 10, 0.0005
_SHOWN = 5  # values in an error
_YES = ("1", "true", "yes", "y", "t", "positive", "1.0")
_NO = ("0", "false", "no", "n", "f", "negative", "0.0")


def find_task(
    label: ColumnProfile, labels: Mapping[str, int], wanted: TaskName | None
) -> tuple[TaskName, str]:
    """Returns the task and why."""
    numeric = label.known > 0 and label.numbers >= TYPED * label.known
    if not label.known:
        raise ComponentError(f"--label: the column {label.column!r} has no value")
    count = len(frequent_labels(labels))
    values = f"{label.column!r} has {count:,} different values"
    if wanted == "regression" and not numeric:
        raise ComponentError(
            f"--task regression: expected numbers in {label.column!r}. Found, for example: "
            f"{label.odd!r}"
        )
    if wanted is not None and wanted != "regression" and count < 2:
        raise ComponentError(f"--label: {values}; a model needs at least 2 classes")
    if wanted == "multiclass" and not 3 <= count <= _MOST_CLASSES:
        raise ComponentError(f"--task multiclass: expected 3 to {_MOST_CLASSES} classes. {values}")
    if wanted is not None:
        return wanted, "as --task says"
    if count == 2:
        return "binary", f"because {values}"
    whole = label.whole == label.numbers
    if numeric and (not whole or count > _NUMERIC_CLASSES):
        if label.distinct < 2:
            raise ComponentError(f"--label: {label.column!r} has one value only")
        return "regression", f"because {label.column!r} has about {label.distinct:,} numbers"
    if 3 <= count <= _MOST_CLASSES:
        kind = "; if they are quantities, say --task regression" if numeric else ""
        return "multiclass", f"because {values}{kind}"
    raise ComponentError(f"--label: {_no_task(label, labels)}")


def _no_task(label: ColumnProfile, labels: Mapping[str, int]) -> str:
    """Returns why a column can be no label, and what is expected."""
    expected = f"expected 2 to {_MOST_CLASSES} classes with {_FEWEST_OF_A_CLASS} rows each"
    frequent = frequent_labels(labels)
    if len(frequent) > 1 or len(labels) > _MOST_CLASSES:
        about = max(label.distinct, len(labels))
        return f"{label.column!r} has about {about:,} different values; {expected}, or numbers"
    shown = ", ".join(f"{text!r} {rows:,} times" for text, rows in [*labels.items()][:_SHOWN])
    return f"{label.column!r} has {shown}; {expected}, or numbers"


def frequent_labels(labels: Mapping[str, int]) -> list[str]:
    """Returns the labels that are no slips: with enough rows to be a class."""
    fewest = max(_FEWEST_OF_A_CLASS, _SMALLEST_CLASS * sum(labels.values()))
    return [text for text, rows in labels.items() if rows >= fewest]


def label_values(
    task: TaskName, labels: Mapping[str, int], column: str
) -> tuple[dict[str, int], list[str]]:
    """Returns text -> label, and the texts that are no class."""
    if task == "regression":
        return {}, []
    frequent = frequent_labels(labels)
    if task == "binary":
        if len(frequent) < 2:
            raise ComponentError(
                f"--label: {column!r} has fewer than 2 values with {_FEWEST_OF_A_CLASS} rows each"
            )
        if len(frequent) > 2:
            raise ComponentError(
                f"--task binary: expected 2 classes in {column!r}. Found {len(frequent)}, such as "
                f"{', '.join(map(repr, frequent[:4]))}"
            )
        one, other = frequent  # the other is rarer
        yes = next((text for text in frequent if text.lower() in _YES), None)
        no = next((text for text in frequent if text.lower() in _NO), None)
        positive = yes or (one if no == other else other)
        negative = one if positive == other else other
        found = {positive: 1, negative: 0}
    else:
        ordered = sorted(frequent, key=_by_number)
        found = {text: place for place, text in enumerate(ordered)}
    return found, [text for text in labels if text not in found]


def _by_number(text: str) -> tuple[int, float, str]:
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text


def class_names(task: TaskName, labels: Mapping[str, int]) -> tuple[str, ...]:
    """Returns the names of the classes; a binary task names label 1 first."""
    return tuple(sorted(labels, key=lambda text: labels[text], reverse=task == "binary"))


def label_warnings(
    profile: TableProfile,
    task: TaskName,
    label: str,
    labels: Mapping[str, int],
    others: Sequence[str],
    unlabelled: int,
) -> list[str]:
    found = []
    if profile.unreadable:
        found.append(f"{profile.unreadable:,} lines cannot be read and will be quarantined")
    if unlabelled:
        what = f", such as {', '.join(map(repr, others[:3]))}" if others else ""
        kind = "no number" if task == "regression" else "none of the classes"
        found.append(
            f"{unlabelled:,} rows have no value in {label!r}, or {kind}{what}; they will be "
            "quarantined"
        )
    return found
