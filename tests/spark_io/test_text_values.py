"""Which text is a value: one table for JSON and CSV, and the same in generated files."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from spark_io.connectors.connector import InputLocation
from spark_io.connectors.files import find
from spark_io.sources.reading import read_source
from spark_io.sources.source_types import FileSource
from spark_io.sources.spans import SpanRange
from tests.spark_io.readings import Read

pytestmark = pytest.mark.component

REFUSED = "refused"
NOON = dt.datetime(2024, 3, 1, 12, 30)
MARCH = dt.date(2024, 3, 1)
INFINITY = float("inf")

# (type, JSON text, the value); S5 and S7 of the cases are among them.
JSON_VALUES: list[tuple[str, str, Any]] = [
    ("tinyint", "127", 127),
    ("tinyint", "-128", -128),
    ("tinyint", "200", REFUSED),
    ("tinyint", "256", REFUSED),
    ("smallint", "32768", REFUSED),
    ("int", "2147483648", REFUSED),
    ("bigint", "9223372036854775807", 2**63 - 1),
    ("bigint", "9223372036854775808", REFUSED),
    ("bigint", "1.0", REFUSED),
    ("bigint", '"5"', REFUSED),
    ("bigint", "true", REFUSED),
    ("float", "1.5", 1.5),
    ("float", "1e39", REFUSED),
    ("float", "Infinity", INFINITY),
    ("float", '"-Infinity"', -INFINITY),
    ("double", "-0.0", -0.0),
    ("double", "1e400", REFUSED),
    ("double", "-1e400", REFUSED),
    ("double", '"1.5"', REFUSED),
    ("double", "5", 5.0),
    ("decimal(5,2)", "1.23", Decimal("1.23")),
    ("decimal(5,2)", "1.239", REFUSED),
    ("decimal(5,2)", "1e2", REFUSED),
    ("decimal(5,2)", "1.20", Decimal("1.20")),
    ("decimal(5,2)", "-0.5", Decimal("-0.50")),
    ("decimal(5,2)", "100", Decimal("100.00")),
    ("decimal(5,2)", "0", Decimal("0.00")),
    ("decimal(5,2)", "0.00", Decimal("0.00")),
    ("decimal(5,2)", "1000", REFUSED),
    ("decimal(5,2)", "1e-69", REFUSED),
    ("decimal(5,2)", "7." + 37 * "0" + "1", REFUSED),
    ("decimal(38,2)", "1.239", REFUSED),
    ("decimal(38,2)", '"1.239"', REFUSED),
    ("decimal(38,2)", "12345678.9", Decimal("12345678.90")),
    ("decimal(38,18)", "0.1234567890123456789", REFUSED),
    ("decimal(38,18)", "0.123456789012345678", Decimal("0.123456789012345678")),
    ("decimal(30,2)", "1.00000000001", REFUSED),
    ("decimal(5,2)", '"1,5"', REFUSED),
    ("decimal(5,2)", '"1.5"', Decimal("1.50")),
    ("decimal(20,2)", "12345678901234567.89", Decimal("12345678901234567.89")),
    ("string", '"1.10"', "1.10"),
    ("string", '{"a": 1.5,  "b": [1, "x y"]}', '{"a":1.5,"b":[1,"x y"]}'),
    ("string", '{"a": 1.10}', REFUSED),
    ("string", '{"a": 1e400}', REFUSED),
    ("string", '"a\\ud83d"', REFUSED),
    ("string", '"\\ude00b"', REFUSED),
    ("string", '"\\ud83d\\ude00"', "\U0001f600"),
    ("string", "1.10", REFUSED),
    ("string", "1e2", REFUSED),
    ("string", "12345678901234567890.5", REFUSED),
    ("string", "12345678901234567890", "12345678901234567890"),
    ("string", "5", "5"),
    ("string", "true", "true"),
    ("string", '""', ""),
    ("date", '"2024-03-01"', MARCH),
    ("date", '"20240301"', REFUSED),
    ("date", '"5"', REFUSED),
    ("date", '"99999"', REFUSED),
    ("date", "20240301", REFUSED),
    ("date", "5", REFUSED),
    ("date", '"2024"', REFUSED),
    ("date", '"2024-03"', REFUSED),
    ("date", '"2024-3-1"', REFUSED),
    ("date", '"2024-02-30"', REFUSED),
    ("date", '"2024-03-01T12:30"', REFUSED),
    ("date", '"0000-00-00"', REFUSED),
    ("timestamp", '"2024-03-01T12:30:00Z"', NOON),
    ("timestamp", '"2024-03-01 12:30"', NOON),
    ("timestamp", '"2024-03-01T13:30:00+01:00"', NOON),
    ("timestamp", '"2024-03-01T13:30:00+0100"', NOON),
    ("timestamp", '"2024-03-01T13:30:00 Europe/Berlin"', NOON),
    ("timestamp", '"2024-03-01"', dt.datetime(2024, 3, 1)),
    ("timestamp", '"2024-03-01T12:30:00.123456789Z"', NOON.replace(microsecond=123456)),
    ("timestamp", '"10:30"', REFUSED),
    ("timestamp", '"T10:30"', REFUSED),
    ("timestamp", '"2024"', REFUSED),
    ("timestamp", '"20240"', REFUSED),
    ("timestamp", '"20240301"', REFUSED),
    ("timestamp", '"1709251200"', REFUSED),
    ("timestamp", '"2024-03-01T25:00:00"', REFUSED),
    ("timestamp", "1709251200", dt.datetime(2024, 3, 1)),
    ("timestamp", "1709251200000", REFUSED),
    ("timestamp", "1709251200000000", REFUSED),
    ("timestamp", "1709251200.5", REFUSED),
    ("timestamp_ntz", '"2024-03-01T12:30:00"', NOON),
    ("timestamp_ntz", '"2024-03-01T12:30:00Z"', REFUSED),
    ("timestamp_ntz", '"10:30"', REFUSED),
    ("timestamp_ntz", "1709251200", REFUSED),
    ("boolean", "true", True),
    ("boolean", "1", REFUSED),
    ("boolean", '"true"', REFUSED),
    ("binary", '"QUI="', b"AB"),
    ("binary", '"QUI"', REFUSED),
    ("array<date>", '["2024-03-01", null]', [MARCH, None]),
    ("array<date>", '["2024-03-01", "5"]', REFUSED),
    ("array<timestamp>", '["10:30"]', REFUSED),
    ("array<decimal(3,1)>", "[1.25]", REFUSED),
    ("array<decimal(38,2)>", "[1.239]", REFUSED),
    ("array<decimal(3,1)>", "[1.5, 2]", [Decimal("1.5"), Decimal("2.0")]),
    ("array<tinyint>", "[1, 200]", REFUSED),
    ("array<double>", "[1, 1e400]", REFUSED),
    ("array<string>", "[1.10]", REFUSED),
    ("array<string>", '["1.10"]', ["1.10"]),
    ("map<string,date>", '{"a": "5"}', REFUSED),
    ("struct<d:date,a:array<decimal(3,1)>>", '{"d": "2024-03-01", "a": [1.25]}', REFUSED),
    ("struct<d:date>", '{"d": "5"}', REFUSED),
    ("struct<d:date>", '{"d": null}', (None,)),
]

# (type, text of the field, the value); S6 of the cases is among them.
CSV_VALUES: list[tuple[str, str, Any]] = [
    ("tinyint", "127", 127),
    ("tinyint", "128", REFUSED),
    ("bigint", "+5", 5),
    ("bigint", "5.0", REFUSED),
    ("bigint", " 5", REFUSED),
    ("bigint", "0x10", REFUSED),
    ("bigint", "5L", REFUSED),
    ("bigint", "9223372036854775808", REFUSED),
    ("float", "1e39", REFUSED),
    ("float", "0.1", pytest.approx(0.1)),
    ("double", "5d", REFUSED),
    ("double", "5f", REFUSED),
    ("double", "0x1p3", REFUSED),
    ("double", " 5", REFUSED),
    ("double", "1e400", REFUSED),
    ("double", "-.5e1", -5.0),
    ("double", "5.", 5.0),
    ("double", "1,5", REFUSED),
    ("double", "Infinity", INFINITY),
    ("double", "-Inf", -INFINITY),
    ("decimal(5,2)", "1,5", REFUSED),
    ("decimal(5,2)", "1.239", REFUSED),
    ("decimal(5,2)", "1e-69", REFUSED),
    ("decimal(5,2)", "1e2", Decimal("100.00")),
    ("decimal(5,2)", "1." + "0" * 50 + "1", REFUSED),
    ("decimal(38,2)", "1239e-3", REFUSED),
    ("decimal(38,2)", "1.2", Decimal("1.20")),
    ("decimal(5,2)", "1." + "0" * 37 + "1e0", REFUSED),
    ("decimal(5,2)", "1.230", Decimal("1.23")),
    ("decimal(5,2)", "1000", REFUSED),
    ("boolean", "True", True),
    ("boolean", "false", False),
    ("boolean", "yes", REFUSED),
    ("boolean", "1", REFUSED),
    ("string", "1.10", "1.10"),
    ("string", "", None),
    ("bigint", "", None),
    ("date", "2024-03-01", MARCH),
    ("date", "5", REFUSED),
    ("date", "20240301", REFUSED),
    ("date", "2024-03-01 00:00:00", REFUSED),
    ("date", "2024-02-30", REFUSED),
    ("timestamp", "2024-03-01 12:30:00", NOON),
    ("timestamp", "2024-03-01T13:30:00+01", NOON),
    ("timestamp", "10:30", REFUSED),
    ("timestamp", "1709251200", REFUSED),
    ("timestamp", "2024", REFUSED),
    ("timestamp_ntz", "2024-03-01T12:30:00", NOON),
    ("timestamp_ntz", "2024-03-01T12:30:00+05:00", REFUSED),
]


def by_type(table: list[tuple[str, str, Any]]) -> list[Any]:
    types = list(dict.fromkeys(kind for kind, _, _ in table))
    return [pytest.param(t, [(x, v) for k, x, v in table if k == t], id=t) for t in types]


@pytest.mark.parametrize(("kind", "cases"), by_type(JSON_VALUES))
def test_a_json_value_arrives_or_is_rejected(read: Read, kind: str, cases: Any) -> None:
    lines = [f'{{"n": {n}, "v": {text}}}' for n, (text, _) in enumerate(cases)]
    lines.append(f'{{"n": {len(lines)}}}')  # without the value
    check(read, "a.json", "json", lines, kind, [*[v for _, v in cases], None])


@pytest.mark.parametrize(("kind", "cases"), by_type(CSV_VALUES))
@pytest.mark.parametrize("options", [{}, {"multiLine": "true"}], ids=["lines", "multi_line"])
def test_a_csv_field_arrives_or_is_rejected(
    read: Read, kind: str, cases: Any, options: dict[str, str]
) -> None:
    lines = ["n,v", *[f'{n},"{text}"' for n, (text, _) in enumerate(cases)]]
    check(read, "a.csv", "csv", lines, kind, [v for _, v in cases], options=options)


def check(
    read: Read, name: str, form: str, lines: list[str], kind: str, wanted: list[Any], **fields: Any
) -> None:
    columns = {"n": "int", "v": kind}
    fields |= {"format": form, "columns": columns, "may_be_null": ["v"]}
    rows, refused = read(name, "\n".join(lines) + "\n", **fields)
    got: dict[int, Any] = dict(rows)
    assert {n: got.get(n, REFUSED) for n in range(len(wanted))} == dict(enumerate(wanted))
    assert {reason for reason, _ in refused} <= {"unparseable"}
    kept = [line for line in lines if line in {record for _, record in refused}]
    assert len(kept) == sum(value is REFUSED for value in wanted)


@pytest.mark.parametrize(
    ("kind", "option", "form", "text", "value"),
    [
        ("date", "dateFormat", "dd.MM.yyyy", "01.03.2024", MARCH),
        ("date", "dateFormat", "yyyyMMdd", "20240301", MARCH),
        ("date", "dateFormat", "yyyyMMdd", "2024-03-01", REFUSED),
        ("timestamp", "timestampFormat", "dd/MM/yyyy HH:mm", "01/03/2024 12:30", NOON),
        ("timestamp", "timestampFormat", "yyyyMMdd", "20240301", dt.datetime(2024, 3, 1)),
        ("timestamp", "timestampFormat", "dd/MM/yyyy HH:mm", "10:30", REFUSED),
        ("timestamp_ntz", "timestampNTZFormat", "dd/MM/yyyy HH:mm", "01/03/2024 12:30", NOON),
        ("timestamp_ntz", "timestampNTZFormat", "dd/MM/yyyy HH:mm", "2024", REFUSED),
        ("timestamp", "timestampFormat", "yyyy", "2024", dt.datetime(2024, 1, 1)),
    ],
)
def test_a_form_of_ones_own_replaces_iso(
    read: Read, kind: str, option: str, form: str, text: str, value: Any
) -> None:
    lines = ["n,v", f"0,{text}", "1,"]
    check(read, "a.csv", "csv", lines, kind, [value, None], options={option: form})
    lines = [f'{{"n": 0, "v": "{text}"}}', '{"n": 1}', '{"n": 2, "v": 20240301}']
    check(read, "a.json", "json", lines, kind, [value, None, REFUSED], options={option: form})


def test_infinity_is_a_value_of_its_own_not_of_its_line(read: Read) -> None:
    columns = {"n": "int", "v": "double", "t": "string"}
    lines = ['{"n": 1, "v": 1e400, "t": "info"}', '{"n": 2, "v": Infinity, "t": "x"}']
    rows, refused = read("a.json", "\n".join(lines), format="json", columns=columns)
    assert rows == [(2, INFINITY, "x")]
    assert len(refused) == 1


@pytest.mark.parametrize("number", ["288230376151711744", "1709251200", "1709251200000000000"])
def test_with_a_form_of_ones_own_a_number_is_no_time(read: Read, number: str) -> None:
    text = f'{{"n": 0, "v": {number}}}\n{{"n": 1, "v": "2024"}}\n'
    fields = {"format": "json", "columns": {"n": "int", "v": "timestamp"}}
    rows, refused = read("a.json", text, **fields, options={"timestampFormat": "yyyy"})
    assert [row[0] for row in rows] == [1]
    assert len(refused) == 1


def test_a_csv_field_is_no_array(read: Read) -> None:
    with pytest.raises(Exception, match=r"'v' is array<int>, which has no form in CSV"):
        read("a.csv", "n,v\n1,2\n", format="csv", columns={"n": "int", "v": "array<int>"})


# Generated files: the value arrives, or the row is rejected; never another value.


def parse_date(text: str) -> dt.date:
    return dt.date.fromisoformat(text)


KINDS: dict[str, Callable[[str], Any]] = {
    "bigint": int,
    "tinyint": int,
    "double": float,
    "decimal(9,3)": Decimal,
    "date": parse_date,
    "boolean": {"true": True, "false": False}.__getitem__,
    "string": str,
}
ODD_TEXTS = (
    "5d 0x1p3 1_000 \uff11\uff12 1e5 1e400 -0 +1 007 1,5 1.2345 NaN 2024 2024-3-1 20240301 10:30 "
    "null 2024-02-30 2024-03-01T00:00 2024-03-01 true True 1 0 .5 5. - -- 128 1.0 Infinity"
)
ODD = st.sampled_from(ODD_TEXTS.split(" "))
TEXTS = st.one_of(
    ODD,
    st.integers(-(2**65), 2**65).map(str),
    st.floats(allow_nan=False).map(repr),
    st.dates().map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=4).map(str),
    st.text("0123456789.-+eE:dTZx ,", min_size=1, max_size=12),
)


@settings(
    max_examples=8,
    phases=[Phase.explicit, Phase.generate],  # shrinking would take minutes
    suppress_health_check=list(HealthCheck),
)
@given(st.sampled_from(["csv", "json", "multi_line"]), st.lists(TEXTS, min_size=20, max_size=60))
def test_a_text_is_its_value_or_is_rejected(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, form: str, texts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("texts")
    columns = {"n": "int", **{f"c{i}": kind for i, kind in enumerate(KINDS)}}
    good = {"bigint": "1", "tinyint": "1", "double": "1.5", "decimal(9,3)": "1.5"}
    good |= {"date": "2024-03-01", "boolean": "true", "string": "x"}
    rows = []  # each has one text that may not fit, in one column
    for number, text in enumerate(texts):
        kinds = list(KINDS)
        rows.append((kinds[number % len(kinds)], text))
    write(folder, form, rows, good)
    options = {"multiLine": "true"} if form == "multi_line" else {}
    kind = "json" if form == "json" else "csv"
    source = FileSource(kind, "a.txt", columns, options=options, may_be_null=list(columns))
    found = find("s", source, SpanRange(), InputLocation(str(folder)))
    result = read_source(spark, "s", source, found, str(folder), True)
    assert result.read == len(rows)
    for row in result.rows.select(*columns).collect():
        kind, text = rows[row["n"]]
        value = row[f"c{list(KINDS).index(kind)}"]
        if form == "json" and text == "null" and value is None:
            continue
        assert same(KINDS[kind], text.lower() if kind == "boolean" else text, value), (text, value)


def write(folder: Path, form: str, rows: list[tuple[str, str]], good: dict[str, str]) -> None:
    quoted_in_json = {"date", "string", "boolean", "decimal(9,3)"}
    lines = [] if form == "json" else [",".join(["n", *[f"c{i}" for i in range(len(KINDS))]])]
    for number, (odd, text) in enumerate(rows):
        values = {kind: text if kind == odd else good[kind] for kind in KINDS}
        if form == "json":
            parts = [f'"n": {number}']
            for i, (kind, value) in enumerate(values.items()):
                as_text = kind in quoted_in_json and (kind, value) != ("boolean", "true")
                parts.append(f'"c{i}": {json.dumps(value) if as_text else value}')
            lines.append("{" + ", ".join(parts) + "}")
        else:
            lines.append(",".join([str(number), *[f'"{v}"' for v in values.values()]]))
    (folder / "a.txt").write_text("\n".join(lines) + "\n")


def same(parse: Callable[[str], Any], text: str, value: Any) -> bool:
    wanted = parse(text)
    if isinstance(wanted, float) and math.isnan(wanted):
        return math.isnan(value)
    return wanted == value and (
        not isinstance(wanted, float) or math.isinf(wanted) <= ("nf" in text)
    )
