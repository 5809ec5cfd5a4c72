"""The schema that is made from statistics says what the ETL promises."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from applications.commands.curation import curated_schema, schema_text
from applications.commands.schema import write_schema
from base.errors import ComponentError
from tabular.feature_set import Categorical, FeatureSet, Numeric, Ordinal, Sequence

pytestmark = pytest.mark.unit

FEATURES = FeatureSet(
    label="late",
    keys=("train_no",),
    features=(
        Numeric("delay"),
        Categorical("line", vocabulary=10),
        Ordinal("day", size=7),
        Sequence({"last_lines": "line"}, length=5),
    ),
)
TYPES = {
    "train_no": schema_pb2.BYTES,
    "late": schema_pb2.INT,
    "delay": schema_pb2.FLOAT,
    "line": schema_pb2.BYTES,
    "day": schema_pb2.INT,
    "last_lines": schema_pb2.BYTES,
}


def made(
    missing: dict[str, int] | None = None, close: bool = False, without: str = "", **more: Any
) -> Any:
    types = {name: kind for name, kind in {**TYPES, **more}.items() if name != without}
    inferred = schema_pb2.Schema()
    statistics = statistics_pb2.DatasetFeatureStatistics(num_examples=100)
    for name, kind in types.items():
        inferred.feature.add(name=name, type=kind)
        counts = statistics.features.add(name=name).num_stats.common_stats
        counts.num_missing = (missing or {}).get(name, 0)
        counts.min_num_values, counts.max_num_values = (0, 3) if name == "last_lines" else (1, 1)
    for feature in inferred.feature:
        if feature.name in ("line", "train_no"):
            feature.domain = feature.name
            inferred.string_domain.add(name=feature.name, value=["U2", "U1"])
    return curated_schema(statistics, inferred, FEATURES, close)


def by_name(schema: schema_pb2.Schema) -> dict[str, schema_pb2.Feature]:
    return {one.name: one for one in schema.feature}


def test_what_the_model_takes_is_required_and_finite():
    found = by_name(made())
    for name in ("late", "delay", "line", "day"):
        assert found[name].presence.min_fraction == 1
        assert [dim.size for dim in found[name].shape.dim] == [1]
    assert found["delay"].float_domain.disallow_nan
    assert found["delay"].float_domain.disallow_inf
    assert (found["late"].int_domain.min, found["late"].int_domain.max) == (0, 1)
    assert found["day"].int_domain.max == 6


def test_a_list_has_a_count_of_values_that_the_declaration_allows():
    found = by_name(made())["last_lines"]
    assert (found.value_count.min, found.value_count.max) == (0, 5)
    assert not found.HasField("shape")


def test_vocabularies_are_open_unless_they_are_closed_on_request():
    assert not made().string_domain
    (domain,) = made(close=True).string_domain
    assert (domain.name, [*domain.value]) == ("line", ["U1", "U2"])  # not that of the key


def test_a_key_may_be_missing():
    assert by_name(made({"train_no": 3}))["train_no"].presence.min_fraction == 0


def test_a_feature_that_some_examples_lack_is_an_error():
    with pytest.raises(ComponentError, match=r"of 100 examples.*delay in 7"):
        made({"delay": 7})


def test_a_feature_that_no_example_has_is_an_error():
    with pytest.raises(ComponentError, match="returns no column day"):
        made(without="day")


def test_the_text_is_the_schema():
    schema = made(close=True, extra=schema_pb2.INT)
    text = schema_text(schema, FEATURES, ["Made of trains.", ""])
    assert text.startswith("# Made of trains.\n#\n")
    assert "  presence { min_fraction: 1.0 min_count: 1 }\n" in text
    read = text_format.Parse(text, schema_pb2.Schema())
    assert by_name(read) == by_name(schema)
    assert read.string_domain == schema.string_domain


def test_a_schema_that_differs_is_shown_and_not_overwritten(tmp_path, capsys):
    path = tmp_path / "schemas" / "trains.pbtxt"
    write_schema(path, "one\n", force=False)
    write_schema(path, "one\n", force=False)  # the same again
    with pytest.raises(ComponentError, match="nothing was written"):
        write_schema(path, "two\n", force=False)
    shown = capsys.readouterr().out
    assert "-one\n" in shown
    assert "+two\n" in shown
    assert path.read_text() == "one\n"
    write_schema(path, "two\n", force=True)
    assert path.read_text() == "two\n"
