"""Decides from a table's profile what its application does with each column.

Nothing here reads data, so every decision can be tested on numbers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from applications.commands.scaffold.columns import (
    IDENTIFIER,
    IS_THE_LABEL,
    TELLS,
    TYPED,
    ColumnPlan,
    Treatment,
    has_odd,
    number_type,
    plain_type,
    plan_column,
)
from applications.commands.scaffold.labels import (
    class_names,
    find_task,
    label_values,
    label_warnings,
)
from applications.commands.scaffold.names import feature_name
from applications.commands.scaffold.profile import ColumnProfile, TableProfile
from base.errors import ComponentError
from tabular.feature_set import TaskName

_LONGEST_KEY = 60
_SMALL_TABLE = 50_000
_ENOUGH = 100  # examples of a class in the judged split: the default of evaluator.min_positives


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
    found, reason = find_task(known, profile.labels, task)
    labels, others = label_values(found, profile.labels, label)
    key = _key(profile, label)
    columns: list[ColumnPlan] = []
    taken: list[str] = []
    for place, one in enumerate(profile.columns):
        feature = feature_name(one.column, taken, place + 1)
        if one.column == label:
            made = _label_column(one, feature, found, format_)
        elif one.column == key:
            made = ColumnPlan(one.column, feature, plain_type(one, format_), "key")
        else:
            made = plan_column(one, feature, format_, profile.rows, skills.get(one.column, 0.0))
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
        *label_warnings(profile, found, label, labels, others, unlabelled),
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
        classes=class_names(found, labels),
        buckets=buckets,
        max_quarantine_fraction=_room_above(rejected / max(profile.rows, 1)),
        min_positives=max(10, int(judged / 2)) if few else None,
        rejected=rejected,
        warnings=warnings,
    )


def _key(profile: TableProfile, label: str) -> str | None:
    """Returns the column that names a row, of those with another value in each row.

    An amount or a time may be different in each row by chance, and is something to learn from.
    """
    kinds = {one.column: one for one in profile.columns}
    unique = [column for column in profile.unique if column != label]
    candidates = [column for column in unique if _may_name_a_row(kinds[column], profile.rows)]
    named = [column for column in candidates if IDENTIFIER.search(column)]
    return next(iter(named or candidates), None)


def _may_name_a_row(one: ColumnProfile, rows: int) -> bool:
    if one.times or one.longest > _LONGEST_KEY:
        return False
    if not one.numbers:
        return True
    if one.whole < one.known:
        return one.numbers < TYPED * one.known  # a text, of which some look like numbers
    if IDENTIFIER.search(one.column):
        return True
    return (one.highest or 0) - (one.lowest or 0) < 2 * rows  # numbered rows


def _label_column(one: ColumnProfile, feature: str, task: TaskName, format_: str) -> ColumnPlan:
    kind = number_type(one, format_) if task == "regression" else one.type
    return ColumnPlan(one.column, feature, kind, "label")


def _room_above(share: float) -> float:
    """Returns a limit with room above the share of rejected rows, in whole hundredths."""
    return min(1.0, max(0.01, math.ceil(200 * share) / 100))


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
        if skill >= TELLS and one.treatment in ("number", "text", "left out"):
            what = "was left out" if one.treatment == "left out" else "should perhaps be left out"
            found.append(
                f"{one.column!r} alone {'tells' if skill >= IS_THE_LABEL else 'almost tells'} the "
                f"label ({measure} {skill:.4f}) and {what}: it may be known only afterwards"
            )
    kinds = {one.column: one for one in profile.columns}
    for one in columns:
        if one.treatment == "number" and has_odd(kinds[one.column]):
            its = kinds[one.column]
            found.append(
                f"{one.column!r} has {its.known - its.numbers:,} values that are no numbers, such "
                f"as {its.odd!r}; their rows will be quarantined"
            )
    return found
