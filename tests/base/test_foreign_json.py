"""JSON of others: whatever it is, a value that can be used anywhere, or one error."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.foreign_json import ForeignError, parse, parse_object

pytestmark = pytest.mark.unit

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(), below, max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(values)
def test_json_is_read_as_it_was_written(value: object) -> None:
    assert parse(json.dumps(value)) == value
    assert parse(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.text() | st.binary())
def test_anything_else_is_one_error_and_what_is_read_can_be_used(text: str | bytes) -> None:
    try:
        found = parse(text)
    except ForeignError as error:
        assert str(error)
        return
    json.dumps(copy.deepcopy(found), allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 980 + "]" * 980, "nested"),
        ("[" * 100_000 + "]" * 100_000, "nested"),
        ('{"a":' * 70 + "1" + "}" * 70, "nested"),
        ('{"a": "\\ud800"}', "half a character"),
        ('{"\\udfff": 1}', "half a character"),
        (b'"\xff"', "not JSON"),
        ("1" * 401, "401 digits"),
        ("NaN", "NaN"),
        ("-Infinity", "Infinity"),
        ("1e999", "not finite"),
        ("", "not JSON"),
        ('"' + "x" * 100 + '"', "102 bytes"),
    ],
)
def test_what_others_cannot_use(text: str | bytes, reason: str) -> None:
    with pytest.raises(ForeignError, match=reason) as raised:
        parse(text, max_bytes=101 if "bytes" in reason else 1 << 20)
    assert len(str(raised.value)) < 300


def test_an_object_is_an_object() -> None:
    assert parse_object('{"a": [[1]]}') == {"a": [[1]]}
    with pytest.raises(ForeignError, match="not a JSON object"):
        parse_object("[]")
    assert str(parse("[NaN]", finite=False)) == "[nan]"
