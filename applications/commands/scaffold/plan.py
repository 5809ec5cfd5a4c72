"""Decides from a table's profile what its application does with each column.

Nothing here reads data, so every decision can be tested on numbers.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from applications.commands.scaffold.names import feature_name
from applications.commands.scaffold.profile import ColumnProfile, TableProfile
from base.errors import ComponentError
from tabular.feature_set import TaskName

Treatment = Literal["label", "key", "number", "text", "time", "left out"]

_TYPED = 0.99  # share of the known values that must be numbers for a column of numbers
_FEW_WHOLE = 12  # different whole numbers that are categories
_MOST_VALUES = 1_000  # different texts from which on they must repeat often
_LONG_TEXT = 200
_MOST_CLASSES, _NUMERIC_CLASSES = 100, 10
_FEWEST_OF_A_CLASS, _SMALLEST_CLASS = 10, 0.0005
_TELLS, _IS_THE_LABEL = 0.98, 0.9995
_IDENTIFIER = re.compile(r"(^|[_\W])(id|uuid|guid|key|no|nr|number)$|[a-z]ID$|Id$", re.IGNORECASE)
_YES = ("1", "true", "yes", "y", "t", "positive", "1.0")
_NO = ("0", "false", "no", "n", "f", "negative", "0.0")
_SMALL_TABLE = 50_000
_ENOUGH = 100  # examples of a class in the judged split: the default of evaluator.min_positives


@dataclasses.dataclass(frozen=True)
class ColumnPlan:
    """What becomes of a column.

    Attributes:
      column: Name in the data.
      feature: Name of the raw feature; "" if it is left out.
      type: Spark SQL type that the config declares.
      treatment: Part that it plays.
      declaration: Expression of the feature in Python without its name, such as
        ('Categorical', 'vocabulary=10'); empty for columns that are not learned from.
      note: Reason or fact, for a comment.
      median: Number that stands for a missing one; None if it is no number.
      flag: Whether a second feature says that the number is missing.
    """

    column: str
    feature: str
    type: str
    treatment: Treatment
    declaration: tuple[str, ...] = ()
    note: str = ""
    median: float | None = None
    flag: bool = False


@dataclasses.dataclass(frozen=True)
class Plan:
    """An application, as decided from the data.

    Attributes:
      task: Task of the model.
      reason: Why it is this task.
      columns: Plans of all columns, in the order of the data.
      labels: Text of the label -> label; empty for a regression.
      classes: Names of the classes, as a FeatureSet has them.
      buckets: Split -> hash buckets.
      max_quarantine_fraction: Largest share of rejected rows, with room above that of this data.
      min_positives: Examples of a class in the judged split that suffice; None for the default.
      rejected: Number of rows of this data that will be rejected.
      warnings: Lines for the user.
    """

    task: TaskName
    reason: str
    columns: Sequence[ColumnPlan]
    labels: Mapping[str, int]
    classes: tuple[str, ...]
    buckets: Mapping[str, int]
    max_quarantine_fraction: float
    min_positives: int | None
    rejected: int
    warnings: Sequence[str]

    def having(self, *treatments: Treatment) -> list[ColumnPlan]:
        return [one for one in self.columns if one.treatment in treatments]

    @property
    def label(self) -> ColumnPlan:
        return self.having("label")[0]

    @property
    def key(self) -> ColumnPlan | None:
        return next(iter(self.having("key")), None)


def make_plan(
    profile: TableProfile,
    format_: str,
    label: str,
    task: TaskName | None,
    skills: Mapping[str, float],
) -> Plan:
    """Returns the plan of an application.

    Args:
      profile: Values of the table.
      format_: Format of the files.
      label: Column to predict.
      task: Task; None to decide it by the label's values.
      skills: Column -> AUC or R² of the column alone.

    Raises:
      ComponentError: The label cannot be learned, or no column can be learned from.
    """
    by_name = {one.column: one for one in profile.columns}
    known = by_name[label]
    found, reason = _task(known, profile.labels, task)
    labels, others = _labels(found, profile.labels, label)
    key = _key(profile, label)
    columns: list[ColumnPlan] = []
    taken: list[str] = []
    for place, one in enumerate(profile.columns):
        feature = feature_name(one.column, taken, place + 1)
        if one.column == label:
            made = _label_column(one, feature, found, format_)
        elif one.column == key:
            made = ColumnPlan(one.column, feature, _plain_type(one, format_), "key")
        else:
            made = _column(one, feature, format_, profile.rows, skills.get(one.column, 0.0))
        if made.treatment != "left out":
            taken += [made.feature, *([f"{made.feature}_missing"] if made.flag else [])]
        columns.append(made)
    columns += [
        ColumnPlan(column, "", "", "left out", note=why) for column, why in profile.unusable.items()
    ]
    if not any(one.declaration for one in columns):
        raise ComponentError(
            "no column is left to learn from: each is empty, constant, an id or free text"
        )
    unlabelled = (
        profile.rows
        - profile.unreadable
        - (sum(profile.labels[text] for text in labels) if labels else known.numbers)
    )
    numbers = [one for one in columns if one.treatment == "number"]
    odd = sum(by_name[one.column].known - by_name[one.column].numbers for one in numbers)
    rejected = min(profile.rows, profile.unreadable + unlabelled + odd)
    buckets = (
        {"train": 6, "eval": 2, "test": 2}
        if profile.rows < _SMALL_TABLE
        else {"train": 8, "eval": 1, "test": 1}
    )
    smallest = min((profile.labels[text] for text in labels), default=0)
    judged = smallest * buckets["test"] / sum(buckets.values())
    few = bool(labels) and judged < 1.3 * _ENOUGH
    warnings = [
        *_label_warnings(profile, found, label, labels, others, unlabelled),
        *_column_warnings(profile, columns, skills, found),
    ]
    if few:
        warnings.append(
            f"the rarest class has about {judged:.0f} rows in the split test: metrics will be "
            "uncertain, and their intervals wide"
        )
    return Plan(
        task=found,
        reason=reason,
        columns=columns,
        labels=labels,
        classes=_classes(found, labels),
        buckets=buckets,
        max_quarantine_fraction=_room_above(rejected / max(profile.rows, 1)),
        min_positives=max(10, int(judged / 2)) if few else None,
        rejected=rejected,
        warnings=warnings,
    )


def _task(
    label: ColumnProfile, labels: Mapping[str, int], wanted: TaskName | None
) -> tuple[TaskName, str]:
    """Returns the task and why."""
    numeric = label.known > 0 and label.numbers >= _TYPED * label.known
    if not label.known:
        raise ComponentError(f"--label: the column {label.column!r} has no value")
    count = len(_frequent(labels))
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
    raise ComponentError(
        f"--label: {values}; expected 2 or more classes with {_FEWEST_OF_A_CLASS} rows each, at "
        f"most {_MOST_CLASSES}, or numbers"
    )


def _frequent(labels: Mapping[str, int]) -> list[str]:
    """Returns the labels that are no slips: with enough rows to be a class."""
    fewest = max(_FEWEST_OF_A_CLASS, _SMALLEST_CLASS * sum(labels.values()))
    return [text for text, rows in labels.items() if rows >= fewest]


def _labels(
    task: TaskName, labels: Mapping[str, int], column: str
) -> tuple[dict[str, int], list[str]]:
    """Returns text -> label, and the texts that are no class."""
    if task == "regression":
        return {}, []
    frequent = _frequent(labels)
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


def _classes(task: TaskName, labels: Mapping[str, int]) -> tuple[str, ...]:
    """Returns the names of the classes; a binary task names label 1 first."""
    return tuple(sorted(labels, key=lambda text: labels[text], reverse=task == "binary"))


def _key(profile: TableProfile, label: str) -> str | None:
    unique = [column for column in profile.unique if column != label]
    named = [column for column in unique if _IDENTIFIER.search(column)]
    kinds = {one.column: one for one in profile.columns}
    return next(iter(named or [c for c in unique if kinds[c].longest <= 40]), None)


def _label_column(one: ColumnProfile, feature: str, task: TaskName, format_: str) -> ColumnPlan:
    kind = _number_type(one, format_) if task == "regression" else one.type
    return ColumnPlan(one.column, feature, kind, "label")


def _column(one: ColumnProfile, feature: str, format_: str, rows: int, skill: float) -> ColumnPlan:
    """Returns what becomes of a column that is neither label nor key."""
    why = _useless(one, rows, skill)
    if why is not None:
        return ColumnPlan(one.column, "", one.type, "left out", note=why)
    tells = f"; tells the label almost by itself ({skill:.4f})" if skill >= _TELLS else ""
    if (time := _time_type(one)) is not None:
        return ColumnPlan(one.column, feature, time, "time", note=f"a {time}")
    if _is_number(one):
        if _is_few_whole(one):
            return _text(one, feature, _plain_type(one, format_), tells)
        return _number(one, feature, format_, rows, tells)
    kind = one.type if one.type == "boolean" else "string"
    return _text(one, feature, kind, tells)


def _useless(one: ColumnProfile, rows: int, skill: float) -> str | None:
    """Returns why nothing can be learned from a column; None if it can be used."""
    if not one.known:
        return "is empty"
    if one.distinct <= 1 and one.known == rows:
        return "has one value only"
    if skill >= _IS_THE_LABEL:
        return f"tells the label by itself ({skill:.4f}), so it is perhaps known only afterwards"
    if _time_type(one) is not None or one.type == "boolean":
        return None
    if _is_number(one):
        return _id_note(one) if one.whole == one.numbers and _is_id(one) else None
    if one.longest > _LONG_TEXT and one.distinct > _FEW_WHOLE:
        return "is long text"
    # Few values may be nearly unique in a small table, and many in a large one.
    unique = one.distinct > 0.5 * one.known and one.distinct > _FEW_WHOLE
    many = one.distinct > max(_MOST_VALUES, 0.2 * one.known)
    return _id_note(one) if unique or many else None


def _is_few_whole(one: ColumnProfile) -> bool:
    return one.whole == one.numbers and one.distinct <= _FEW_WHOLE and not _has_odd(one)


def _id_note(one: ColumnProfile) -> str:
    return (
        f"has about {min(one.distinct, one.known):,} different values in {one.known:,} rows, as "
        "an id or free text"
    )


def _is_id(one: ColumnProfile) -> bool:
    many = one.distinct > 0.5 * one.known and one.distinct > _FEW_WHOLE
    return bool(_IDENTIFIER.search(one.column)) and many


def _is_number(one: ColumnProfile) -> bool:
    return not one.leading_zeros and one.known > 0 and one.numbers >= _TYPED * one.known


def _has_odd(one: ColumnProfile) -> bool:
    return one.numbers < one.known


def _time_type(one: ColumnProfile) -> str | None:
    if one.type in ("date", "timestamp", "timestamp_ntz"):
        return one.type
    if one.type == "string" and one.times and one.times == one.filled:
        return "date" if one.dates == one.filled else "timestamp"
    return None


def _plain_type(one: ColumnProfile, format_: str) -> str:
    """Returns the declared type of texts and keys: whole numbers of csv stay whole."""
    if format_ != "csv" or one.type != "string":
        return one.type
    whole = one.whole == one.filled and one.plain_numbers == one.filled and not one.leading_zeros
    # Above 2**53 a double, and so `numbers`, is not the number itself; as text nothing is lost.
    return "bigint" if whole and abs(one.highest or 0) < 2**53 else "string"


def _number_type(one: ColumnProfile, format_: str) -> str:
    """Returns bigint or double for a csv column whose every text is one, else its own type."""
    if format_ != "csv" or one.type != "string":
        return one.type
    if one.plain_numbers < one.filled:
        return "string"
    return "bigint" if one.whole == one.filled else "double"


def _number(one: ColumnProfile, feature: str, format_: str, rows: int, note: str) -> ColumnPlan:
    quantiles = one.quantiles or (0.0,) * 5
    low, _, middle, _, high = quantiles
    settings = []
    if (one.lowest or 0) >= 0 and high - middle > 4 * (middle - low) + 1e-9:
        settings.append("log=True")
    if one.distinct >= 50:
        settings.append("buckets=10")
    is_missing = one.known < rows
    text = f"{one.lowest:,.6g} to {one.highest:,.6g}"
    if is_missing:
        text += f", {rows - one.known:,} missing"
    if _has_odd(one):
        text += f", {one.known - one.numbers:,} are no numbers, such as {one.odd!r}"
    return ColumnPlan(
        one.column,
        feature,
        _number_type(one, format_),
        "number",
        ("Numeric", *settings),
        text + note,
        median=middle,
        flag=is_missing,
    )


def _text(one: ColumnProfile, feature: str, kind: str, note: str) -> ColumnPlan:
    size = _round_number_above(1.2 * one.distinct + 1)
    text = f"about {one.distinct:,} values" if one.distinct > 50 else f"{one.distinct} values"
    settings = f"vocabulary={size:_}"
    return ColumnPlan(one.column, feature, kind, "text", ("Categorical", settings), text + note)


def _round_number_above(number: float) -> int:
    """Returns the next of 10, 20, 50, 100, 200, ..."""
    for power in range(1, 9):
        for first in (1, 2, 5):
            if first * 10**power >= number:
                return int(first * 10**power)
    return int(number) + 1


def _room_above(share: float) -> float:
    """Returns a limit with room above the share of rejected rows, in whole hundredths."""
    return min(1.0, max(0.01, math.ceil(200 * share) / 100))


def _label_warnings(
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


def _column_warnings(
    profile: TableProfile,
    columns: Sequence[ColumnPlan],
    skills: Mapping[str, float],
    task: TaskName,
) -> list[str]:
    measure = "R2" if task == "regression" else "AUC"
    found = []
    for one in columns:
        skill = skills.get(one.column, 0.0)
        if skill >= _TELLS and one.treatment in ("number", "text", "left out"):
            what = "was left out" if one.treatment == "left out" else "should perhaps be left out"
            found.append(
                f"{one.column!r} alone {'tells' if skill >= _IS_THE_LABEL else 'almost tells'} the "
                f"label ({measure} {skill:.4f}) and {what}: it may be known only afterwards"
            )
    kinds = {one.column: one for one in profile.columns}
    for one in columns:
        if one.treatment == "number" and _has_odd(kinds[one.column]):
            its = kinds[one.column]
            found.append(
                f"{one.column!r} has {its.known - its.numbers:,} values that are no numbers, such "
                f"as {its.odd!r}; their rows will be quarantined"
            )
    return found
