"""`new` decides by the numbers of a table's profile."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from applications.commands.scaffold.names import feature_name
from applications.commands.scaffold.plan import Plan, make_plan
from applications.commands.scaffold.profile import ColumnProfile, TableProfile
from base.errors import ComponentError

pytestmark = pytest.mark.unit

ROWS = 10_000


def numbers(name: str, **changed: Any) -> ColumnProfile:
    facts = {
        "filled": ROWS,
        "distinct": 900,
        "whole": ROWS,
        "numbers": ROWS,
        "plain_numbers": ROWS,
        "longest": 4,
        "lowest": 0.0,
        "quantiles": [1.0, 20.0, 50.0, 80.0, 99.0],
        "highest": 100.0,
    }
    return ColumnProfile(name, "string", **{**facts, **changed})


def texts(name: str, **changed: Any) -> ColumnProfile:
    return ColumnProfile(
        name, "string", **{"filled": ROWS, "distinct": 5, "longest": 9, "odd": "blue", **changed}
    )


LABEL = texts("state", distinct=2)
LABELS = {"no": 9_000, "yes": 1_000}


def plan(
    *columns: ColumnProfile,
    labels: dict[str, int] | None = None,
    label: ColumnProfile = LABEL,
    unique: tuple[str, ...] = (),
    task: Any = None,
    skills: dict[str, float] | None = None,
    unreadable: int = 0,
) -> Plan:
    profile = TableProfile(
        rows=ROWS,
        unreadable=unreadable,
        columns=[*columns, label],
        labels=LABELS if labels is None else labels,
        unique=unique,
        unusable={},
        options={},
    )
    return make_plan(profile, "csv", label.column, task, skills or {})


def only(*columns: ColumnProfile, **named: Any) -> Any:
    return plan(*columns, **named).columns[0]


def test_two_values_are_a_binary_task_and_yes_is_label_1():
    found = plan(texts("colour"))
    assert (found.task, found.labels) == ("binary", {"yes": 1, "no": 0})
    assert found.classes == ("yes", "no")


def test_the_rarer_of_two_values_without_meaning_is_label_1():
    found = plan(texts("colour"), labels={"active": 8_000, "gone": 2_000})
    assert found.labels == {"gone": 1, "active": 0}


def test_no_is_label_0_even_if_it_is_rarer():
    assert plan(texts("c"), labels={"bought": 8_000, "no": 2_000}).labels["bought"] == 1


def test_three_texts_are_several_classes_in_the_order_of_their_names():
    found = plan(texts("c"), labels={"b": 5_000, "c": 3_000, "a": 2_000})
    assert (found.task, found.classes) == ("multiclass", ("a", "b", "c"))
    assert found.labels == {"a": 0, "b": 1, "c": 2}


def test_many_numbers_are_a_regression():
    label = numbers("price", whole=10, distinct=5_000)
    found = plan(texts("c"), label=label, labels={str(n): 2 for n in range(1_000)})
    assert found.task == "regression"
    assert found.label.type == "double"


def test_a_slip_in_the_label_is_no_class_and_is_announced():
    found = plan(texts("c"), labels={"no": 9_000, "yes": 990, "yse": 3})
    assert found.task == "binary"
    assert found.rejected == 10  # 3 slips, and 7 rows without a value
    assert any("'yse'" in warning and "10 rows" in warning for warning in found.warnings)


def test_regression_of_texts_is_an_error_with_an_example():
    with pytest.raises(ComponentError, match=r"expected numbers in 'state'.*'blue'"):
        plan(texts("c"), task="regression")


def test_binary_of_three_classes_is_an_error():
    with pytest.raises(ComponentError, match="expected 2 classes"):
        plan(texts("c"), task="binary", labels={"a": 5_000, "b": 3_000, "c": 2_000})


def test_a_label_with_one_value_is_an_error():
    with pytest.raises(ComponentError, match=r"has 'a' 10,000 times; expected 2 to 100 classes"):
        plan(texts("c"), labels={"a": ROWS})


def test_labels_that_are_too_rare_are_named():
    with pytest.raises(ComponentError, match=r"has 'no' 9,995 times, 'yes' 5 times; expected 2"):
        plan(texts("c"), labels={"no": 9_995, "yes": 5})


def test_an_id_is_no_label():
    label = texts("state", distinct=15_000)
    with pytest.raises(ComponentError, match="has about 15,000 different values; expected 2"):
        plan(texts("c"), label=label, labels={f"c{n}": 1 for n in range(1_001)})


def test_leading_zeros_stay_text():
    found = only(numbers("zip", leading_zeros=40))
    assert (found.treatment, found.type) == ("text", "string")


def test_few_whole_numbers_are_categories():
    assert only(numbers("children", distinct=6)).declaration == ("Categorical", "vocabulary=10")


def test_a_heavy_tail_gets_a_logarithm():
    tail = [1.0, 5.0, 10.0, 40.0, 2_000.0]
    assert "log=True" in only(numbers("income", quantiles=tail)).declaration
    assert "log=True" not in only(numbers("income", quantiles=tail, lowest=-1.0)).declaration
    assert "log=True" not in only(numbers("age")).declaration


def test_a_missing_number_gets_the_median_and_a_flag():
    found = only(numbers("age", filled=9_000, whole=9_000, numbers=9_000, plain_numbers=9_000))
    assert (found.median, found.flag, found.type) == (50.0, True, "double")


def test_a_word_for_missing_makes_the_source_text_and_the_feature_a_number():
    found = only(numbers("age", missing_words=100, whole=9_900, numbers=9_900, plain_numbers=9_900))
    assert (found.treatment, found.type, found.flag) == ("number", "string", True)


def test_a_few_odd_values_are_announced_and_many_make_a_text():
    few = plan(numbers("age", whole=9_990, numbers=9_990, plain_numbers=9_990, odd="old"))
    assert few.columns[0].treatment == "number"
    assert any("10 values that are no numbers, such as 'old'" in one for one in few.warnings)
    many = only(numbers("age", whole=8_000, numbers=8_000, plain_numbers=8_000, distinct=90))
    assert many.treatment == "text"


@pytest.mark.parametrize("name", ["customer_id", "orderId", "userID", "uuid", "Machine No"])
def test_an_id_is_left_out(name):
    found = plan(texts("c"), numbers(name, distinct=9_000)).columns[1]
    assert found.treatment == "left out"
    assert "id or free text" in found.note


@pytest.mark.parametrize("name", ["paid", "grid", "humid", "width"])
def test_a_word_that_ends_like_id_is_none(name):
    assert only(numbers(name, distinct=9_000)).treatment == "number"


def test_free_text_constants_and_empty_columns_are_left_out():
    found = plan(
        texts("c"),
        texts("note", distinct=9_900),
        texts("same", distinct=1),
        texts("nothing", filled=0, distinct=0),
    )
    assert [one.column for one in found.having("left out")] == ["note", "same", "nothing"]


def test_a_table_with_nothing_to_learn_from_is_an_error():
    with pytest.raises(ComponentError, match="no column is left"):
        plan(texts("same", distinct=1))


def test_a_unique_column_is_the_key_and_splits_the_rows():
    found = plan(texts("c"), texts("order_id", distinct=ROWS), unique=("order_id",))
    assert found.key is not None
    assert found.key.feature == "order_id"


@pytest.mark.parametrize(
    "column",
    [
        numbers("price", distinct=ROWS, whole=10),
        numbers("salary", distinct=ROWS, highest=9_000_000.0),
        texts("ordered at", distinct=ROWS, times=ROWS),
        texts("remark", distinct=ROWS, longest=90),
    ],
)
def test_what_is_different_in_each_row_by_chance_is_no_key(column):
    assert plan(texts("c"), column, unique=(column.column,)).key is None


@pytest.mark.parametrize(
    "column",
    [
        numbers("row", distinct=ROWS, highest=float(ROWS)),
        numbers("customer_id", distinct=ROWS, highest=9_000_000.0),
        texts("reference", distinct=ROWS),
    ],
)
def test_what_names_a_row_is_the_key(column):
    found = plan(texts("c"), column, unique=(column.column,)).key
    assert found is not None
    assert found.column == column.column


def test_a_large_whole_key_stays_text():
    large = numbers("id", distinct=ROWS, highest=2.0**60)
    found = plan(texts("c"), large, unique=("id",))
    assert found.key is not None
    assert found.key.type == "string"


def test_what_is_the_label_is_left_out_and_what_almost_is_stays_with_a_warning():
    found = plan(texts("c"), texts("twin"), texts("near"), skills={"twin": 1.0, "near": 0.985})
    assert [one.column for one in found.having("left out")] == ["twin"]
    assert any("'near' alone almost tells" in warning for warning in found.warnings)
    assert any("'twin' alone tells" in warning for warning in found.warnings)


def test_dates_are_carried_along():
    found = only(texts("day", dates=ROWS, times=ROWS), texts("c"))
    assert (found.treatment, found.type) == ("time", "date")


def test_the_limit_of_rejected_rows_has_room_above_those_of_the_table():
    assert plan(texts("c")).max_quarantine_fraction == 0.01
    dirty = plan(texts("c"), labels={"no": 8_000, "yes": 1_000}, unreadable=500)
    assert dirty.rejected == 1_000
    assert dirty.max_quarantine_fraction == 0.2


def test_a_rare_class_lowers_min_positives_and_says_so():
    found = plan(texts("c"), labels={"no": 9_700, "yes": 300})
    assert found.min_positives == 30
    assert any("60 rows in the split test" in warning for warning in found.warnings)


@given(st.lists(st.text(max_size=30), min_size=1, max_size=20))
def test_any_names_become_different_plain_names(columns):
    taken: list[str] = []
    for place, column in enumerate(columns):
        taken.append(feature_name(column, taken, place))
    assert len({one.lower() for one in taken}) == len(columns)
    for name in taken:
        assert name.isascii()
        assert name.isidentifier()
        assert name[0].isalpha()
        assert not name.endswith(("_xf", "_bucket"))


def test_a_plain_name_is_kept():
    assert feature_name("MonthlyCharges", [], 0) == "MonthlyCharges"
    assert feature_name("age", ["Age"], 1) == "age_2"
