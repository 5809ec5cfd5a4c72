"""Decides what becomes of a column: a number, a category, carried along, or left out."""

from __future__ import annotations

import dataclasses
import re
from typing import Literal

from applications.commands.scaffold.profile import ColumnProfile

Treatment = Literal["label", "key", "number", "text", "time", "left out"]

TYPED = 0.99  # share of the known values that must be numbers for a column of numbers
TELLS, IS_THE_LABEL = 0.98, 0.9995  # AUC or R2 of a column alone
IDENTIFIER = re.compile(r"(?i:(^|[_\W])(id|uuid|guid|key|no|nr|number)$)|[a-z](ID|Id)$")
_FEW_WHOLE = 12  # different whole numbers that are categories
_MOST_VALUES = 1_000  # different texts from which on they must repeat often
_LONG_TEXT = 200


@dataclasses.dataclass(frozen=True)
class ColumnPlan:
    """The treatment of a column of the table.

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


def plan_column(
    one: ColumnProfile, feature: str, format_: str, rows: int, skill: float
) -> ColumnPlan:
    """Returns what becomes of a column that is neither label nor key."""
    why = _useless(one, rows, skill)
    if why is not None:
        return ColumnPlan(one.column, "", one.type, "left out", note=why)
    tells = f"; tells the label almost by itself ({skill:.4f})" if skill >= TELLS else ""
    if (time := _time_type(one)) is not None:
        return ColumnPlan(one.column, feature, time, "time", note=f"a {time}")
    if _is_number(one):
        if _is_few_whole(one):
            return _text(one, feature, plain_type(one, format_), tells)
        return _number(one, feature, format_, rows, tells)
    kind = one.type if one.type == "boolean" else "string"
    return _text(one, feature, kind, tells)


def _useless(one: ColumnProfile, rows: int, skill: float) -> str | None:
    """Returns why nothing can be learned from a column; None if it can be used."""
    if not one.known:
        return "is empty"
    if one.distinct <= 1 and one.known == rows:
        return "has one value only"
    if skill >= IS_THE_LABEL:
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
    return one.whole == one.numbers and one.distinct <= _FEW_WHOLE and not has_odd(one)


def _id_note(one: ColumnProfile) -> str:
    return (
        f"has about {min(one.distinct, one.known):,} different values in {one.known:,} rows, as "
        "an id or free text"
    )


def _is_id(one: ColumnProfile) -> bool:
    many = one.distinct > 0.5 * one.known and one.distinct > _FEW_WHOLE
    return bool(IDENTIFIER.search(one.column)) and many


def _is_number(one: ColumnProfile) -> bool:
    return not one.leading_zeros and one.known > 0 and one.numbers >= TYPED * one.known


def has_odd(one: ColumnProfile) -> bool:
    return one.numbers < one.known


def _time_type(one: ColumnProfile) -> str | None:
    if one.type in ("date", "timestamp", "timestamp_ntz"):
        return one.type
    if one.type == "string" and one.times and one.times == one.filled:
        return "date" if one.dates == one.filled else "timestamp"
    return None


def plain_type(one: ColumnProfile, format_: str) -> str:
    """Returns the declared type of texts and keys: whole numbers of csv stay whole."""
    if format_ != "csv" or one.type != "string":
        return one.type
    whole = one.whole == one.filled and one.plain_numbers == one.filled and not one.leading_zeros
    # Above 2**53 a double, and so `numbers`, is not the number itself; as text nothing is lost.
    return "bigint" if whole and abs(one.highest or 0) < 2**53 else "string"


def number_type(one: ColumnProfile, format_: str) -> str:
    """Returns double for a csv column whose every text is a number, else its own type.

    Whole numbers are doubles, too: a model takes them as floats, and tools such as pandas write 34
    as 34.0 if another row has no value.
    """
    if format_ != "csv" or one.type != "string":
        return one.type
    return "string" if one.plain_numbers < one.filled else "double"


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
    if has_odd(one):
        text += f", {one.known - one.numbers:,} are no numbers, such as {one.odd!r}"
    return ColumnPlan(
        one.column,
        feature,
        number_type(one, format_),
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
