"""The exported repository: its types, names and literals, and what is rejected in one line."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyspark.sql import SparkSession
from pyspark.sql.types import StructType

from base.section import ConfigError
from features.aggregations import Count, First, Last, Mean, Rate, Sum
from features.feast.repository import definitions, write_repository
from features.feast.values import entities_at, view_table
from features.feast.views import view_of, views_of
from features.groups import FeatureGroup
from tests.features.feast_declarations import LARGE

pytestmark = pytest.mark.component

EVENTS = "id string, at long, card string, device int, amount double, number long, paid timestamp"


def group(**changes: Any) -> FeatureGroup:
    given: dict[str, Any] = {
        "name": "card",
        "stream": "payments",
        "keys": ("card",),
        "windows": ("1h", "7d"),
        "aggregations": (Count(),),
    }
    return FeatureGroup(**{**given, **changes})


@pytest.fixture(scope="module")
def events(spark: SparkSession) -> StructType:
    return spark.createDataFrame([], EVENTS).schema


def error_of(spark: SparkSession, groups: Any, streams: dict[str, StructType]) -> str:
    with pytest.raises(ConfigError) as raised:
        definitions(spark, groups, streams)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_types_are_those_of_the_computed_columns(spark: SparkSession, events: StructType) -> None:
    past = (
        Sum("number"),
        Mean("amount"),
        Last(("number", "device"), hours="hours"),
        First(("number", "card"), 3, named=("numbers", "cards")),
        Rate("payments", prior=0.1, strength=5),
    )
    code = definitions(spark, [group(aggregations=past, windows=("1h",))], {"payments": events})
    found = {}
    for call in ast.walk(ast.parse(code)):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "Field":
            given = {one.arg: one.value for one in call.keywords}
            found[ast.literal_eval(given["name"])] = ast.unparse(given["dtype"])
    assert found == {
        "card": "String",
        "card_sum_number_1h": "Float64",
        "card_mean_amount_1h": "Float64",
        "card_last_number_1h": "Int64",
        "card_last_device_1h": "Int32",
        "card_hours_1h": "Float32",
        "card_numbers_1h": "Array(Int64)",
        "card_cards_1h": "Array(String)",
        "card_rate_1h": "Float64",
    }


def test_texts_of_declarations_are_literals_only(spark: SparkSession, events: StructType) -> None:
    stream = 'pay\'"""\nimport os\n{{ 1 }}{% raw %}\\'
    code = definitions(
        spark, [group(stream=stream, where=LARGE)], {stream: events}, values="s3://b/'\"\\x/{{ 1 }}"
    )
    assert code.isascii()
    tree = ast.parse(code)
    assert {ast.unparse(node) for node in tree.body if isinstance(node, ast.Import)} == set()
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert {stream, LARGE, "s3://b/'\"\\x/{{ 1 }}"} <= texts


def test_groups_of_one_name_are_one_view() -> None:
    large = group(aggregations=(Count("large"),), windows=("3h",), where="amount > 9")
    (view,) = views_of([group(), large])
    assert [column.name for column in view.columns()] == [
        "card_count_1h", "card_count_7d", "card_large_3h",
    ]  # fmt: skip
    assert view.ttl_seconds == 3600


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ((), "expected at least one feature group. Received: none"),
        ((group(), group(keys=("device",))),
         "'card': groups of one name are one feature view and must have the same keys. Received: "
         "card and device"),
        ((group(name="my card", column="x_{name}_{window}"),),
         "the name of a view must be of letters, digits and single underscores between them. "
         "Received: 'my card'"),
        ((group(name="card__a"),), "the name of a view must be of letters"),
        ((group(column="{group}__{name}_{window}"),),
         "the name of a feature must be of letters, digits and single underscores between them. "
         "Received: 'card__count_1h'"),
        ((group(keys=("card no",)),), "the name of a key must be of letters"),
        ((group(keys=("event_timestamp",)),),
         "the key 'event_timestamp' has a name that Feast's joins need for themselves"),
        ((group(column="at_{window}_y"),),
         "the feature 'at_1h_y' has a name that Feast's joins need for themselves"),
        ((group(), group(name="Card", column="x_{name}_{window}")),
         "feature views must have different names, in upper or lower case. Received: card and "
         "Card"),
        ((group(), group(name="b", column="Card_{name}_{window}")),
         "features and keys must have different names, in upper or lower case. Received: "
         "card_count_1h and Card_count_1h"),
        ((group(windows=("1h",), column="card"),),
         "features and keys must have different names, in upper or lower case. Received: card and "
         "card"),
    ],
)  # fmt: skip
def test_names_that_feast_would_not_take_are_errors(groups: Any, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        views_of(groups)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_schema_of_each_stream_is_needed(spark: SparkSession, events: StructType) -> None:
    last = group(aggregations=(Last("number"),))
    assert error_of(spark, [last], {}) == (
        "export to Feast: the types of features follow from the schema of the stream 'payments', "
        "which is missing. Received: none"
    )
    rate = group(aggregations=(Rate("visits", prior=0.1, strength=5),))
    assert "the stream 'visits', which is missing. Received: payments" in error_of(
        spark, [rate], {"payments": events}
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aggregations": (Last("price"),)}, "names the column 'price' of the stream 'payments'"),
        ({"aggregations": (Last("paid"),)},
         "the feature 'card_last_paid_1h' must be of one of bigint, int, double, float, string, "
         "boolean, binary, or a list. Received: timestamp. Cast the column in the stream, a "
         "timestamp to a bigint"),
        ({"aggregations": (Last("paid", 2),)}, "Received: array<timestamp>"),
        ({"keys": ("amount",)},
         "the key 'amount' must be of one of bigint, int, string. Received: double"),
        ({"where": "amount >"}, "feature group 'card': Spark rejects it: [PARSE_SYNTAX_ERROR]"),
        ({"where": "price > 1"}, "feature group 'card': Spark rejects it: [UNRESOLVED_COLUMN"),
    ],
)  # fmt: skip
def test_declarations_that_do_not_fit_the_stream_are_errors(
    spark: SparkSession, events: StructType, changes: dict[str, Any], message: str
) -> None:
    assert message in error_of(spark, [group(**changes)], {"payments": events})


def test_a_key_has_one_type(spark: SparkSession, events: StructType) -> None:
    other = spark.createDataFrame([], EVENTS.replace("card string", "card long")).schema
    groups = [group(), group(name="visit", stream="visits")]
    assert (
        "the key 'card' must have one type in all streams. Received: String and Int64"
        in error_of(spark, groups, {"payments": events, "visits": other})
    )


def test_no_file_is_replaced(spark: SparkSession, events: StructType, tmp_path: Path) -> None:
    def write(**changes: Any) -> list[Path]:
        given = {"project": "acme", "values": "s3://lake/values", **changes}
        return write_repository(
            spark, tmp_path / "feature_repo", [group()], {"payments": events}, **given
        )

    with pytest.raises(ConfigError, match="name of a project must be of letters"):
        write(project="acme-2")
    code, settings = write()
    assert "VALUES = 's3://lake/values'" in code.read_text()
    assert yaml.safe_load(settings.read_text())["project"] == "acme"
    code.write_text("# mine")
    with pytest.raises(ConfigError, match=r"definitions.py exists, and may have been edited"):
        write()
    assert code.read_text() == "# mine"


def test_a_relative_folder_of_values_is_the_same_for_each_command(
    spark: SparkSession, events: StructType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`feast apply` would look beside definitions.py, and DuckDB in the current folder."""
    monkeypatch.chdir(tmp_path)
    code = definitions(spark, [group()], {"payments": events}, values="lake")
    assert f"VALUES = {str(tmp_path / 'lake')!r}" in code


ROWS = "card string, at long, card_numbers_1h array<long>, card_number_1h long"
ENDS = group(
    windows=("1h",),
    aggregations=(Last("number", 2, named=("numbers",)), Last("number", named=("number",))),
)


def test_a_table_has_a_row_for_each_entity_and_time(spark: SparkSession) -> None:
    rows = [("a", 5, [1], 2**53), ("a", 5, [1], 2**53), ("a", 6, [], None), (None, 5, [], None)]
    frame = spark.createDataFrame([*rows, ("b", None, [], None)], ROWS)
    table = view_table(frame, [ENDS], "card", time="at")
    assert table.columns == ["card", "event_timestamp", "card_numbers_1h", "card_number_1h"]
    found = table.selectExpr("card", "unix_millis(event_timestamp) AS at", *table.columns[2:])
    assert sorted(map(tuple, found.collect())) == [("a", 5, [1], 2**53), ("a", 6, [], None)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("a", 5, [1, None], 1),
         "the feature 'card_numbers_1h' would change its value: a list must have no null"),
        (("a", 5, [1], 2**53 + 1),
         "the feature 'card_number_1h' would change its value: a whole number must not be beyond"),
        (("a", 5, [1], -(2**63)), "a whole number must not be beyond 2^53"),
    ],
)  # fmt: skip
def test_a_value_that_feast_would_change_is_an_error(
    spark: SparkSession, row: tuple[Any, ...], message: str
) -> None:
    table = view_table(spark.createDataFrame([row], ROWS), [ENDS], "card", time="at")
    with pytest.raises(Exception, match="export to Feast") as raised:
        table.collect()
    assert message in str(raised.value)


def test_entities_at_a_time_are_those_of_earlier_events_of_all_streams(spark: SparkSession) -> None:
    rate = group(aggregations=(Rate("visits", prior=0.1, strength=5),), keys=("card", "device"))
    columns = "at long, card string, device int"
    streams = {
        "payments": spark.createDataFrame([(9, "a", 1), (9, "a", 1), (9, None, 1)], columns),
        "visits": spark.createDataFrame([(8, "b", 2), (10, "late", 2), (8, "a", 1)], columns),
    }
    rows = entities_at(10, [rate], "card", streams, identity="row", time="at")
    assert rows.columns == ["row", "card", "device", "at"]
    assert sorted(map(tuple, rows.collect())) == [("1:a1", "a", 1, 10), ("1:b2", "b", 2, 10)]
    with pytest.raises(ConfigError, match=r"the name of a feature view: card\. Received: shop"):
        view_of([rate], "shop")
