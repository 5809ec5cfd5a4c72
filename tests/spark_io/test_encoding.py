"""Arrow to tf.Example and back: what goes in comes out, also zeros, nulls, NaN and empty lists.

Two oracles: TensorFlow's parser, whose answer is compared with what went in, and tfx_bsl's encoder,
whose Examples are compared byte for byte once protobuf has put them into its deterministic form.
"""

from __future__ import annotations

import datetime as dt
import decimal
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

from base.errors import ComponentError
from spark_io.examples import byte_columns, encoding
from spark_io.examples.encoding import (
    FEATURE_KINDS,
    ExampleEncoder,
    check_types,
    to_feature_values,
)
from spark_io.examples.wire import canonical

pytestmark = pytest.mark.unit

EPOCH = dt.datetime(1970, 1, 1)


class Kind(NamedTuple):
    """A line of the type table."""

    spark: str
    arrow: pa.DataType
    values: st.SearchStrategy
    feature_value: Callable[[Any], Any]  # what a value is in the feature


def integers(bits: int) -> st.SearchStrategy:
    edges = [sign * 2**power - less for sign in (1, -1) for power in range(bits) for less in (0, 1)]
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    in_range = [edge for edge in edges if low <= edge <= high]
    return st.integers(0, 127) | st.integers(low, high) | st.sampled_from(in_range)


def float32(value: float | decimal.Decimal) -> np.float32:
    with np.errstate(over="ignore"):
        return np.float32(float(value))


def microseconds(moment: dt.datetime) -> int:
    return (moment.replace(tzinfo=None) - EPOCH) // dt.timedelta(microseconds=1)


# Where a length takes a byte more, and where values become too long for a slot of their own.
LONG = st.sampled_from([40, 63, 64, 65, 90, 110, *range(118, 131), 16_370, 16_384, 40_000])
TEXT = st.text(max_size=12) | st.builds(
    lambda length: "ż" * (length // 2) + "x" * (length % 2), LONG
)
BINARY = st.binary(max_size=12) | LONG.map(bytes)
DOUBLES = st.floats() | st.sampled_from([-0.0, 1e39, -1e300, 5e-324])
MOMENTS = st.datetimes() | st.sampled_from([dt.datetime(1969, 12, 31, 23, 59, 59, 999_999), EPOCH])
DECIMAL = pa.decimal128(38, 18)
DECIMALS = st.decimals(-(10**19), 10**19, places=18)

KINDS = [
    Kind("boolean", pa.bool_(), st.booleans(), int),
    Kind("tinyint", pa.int8(), integers(8), int),
    Kind("smallint", pa.int16(), integers(16), int),
    Kind("int", pa.int32(), integers(32), int),
    Kind("bigint", pa.int64(), integers(64), int),
    Kind("float", pa.float32(), st.floats(width=32), float32),
    Kind("double", pa.float64(), DOUBLES, float32),
    Kind("decimal(38,18)", DECIMAL, DECIMALS, float32),
    Kind("string", pa.string(), TEXT, str.encode),
    Kind("string", pa.large_string(), TEXT, str.encode),
    Kind("binary", pa.binary(), BINARY, bytes),
    Kind("binary", pa.large_binary(), BINARY, bytes),
    Kind("date", pa.date32(), st.dates(), lambda day: (day - EPOCH.date()).days),
    Kind("timestamp", pa.timestamp("us", tz="UTC"), MOMENTS, microseconds),
    Kind("timestamp_ntz", pa.timestamp("us"), MOMENTS, microseconds),
]
PREFIXES = ["a", "ab", "abc", "b", "ä", "äb", "x" * 127, "y" * 300]
# Not the empty name, which TensorFlow refuses, nor zero bytes, where tfx_bsl ends a name.
LETTERS = st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")
NAMES = st.text(LETTERS, min_size=1, max_size=6) | st.sampled_from(PREFIXES)
TF_TYPES = {"int64": tf.int64, "float": tf.float32, "bytes": tf.string}


def encode(batch: pa.RecordBatch) -> list[bytes]:
    return [example for _, part in ExampleEncoder().encode(batch) for example in part.to_pylist()]


def one_column(column: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([column], names=["x"])


def tfx_bsl_examples(batch: pa.RecordBatch) -> list[bytes]:
    """tfx_bsl's Examples, in protobuf's deterministic form."""
    columns = []
    for column in batch.columns:
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            values, lengths = column.flatten(), pc.fill_null(pc.list_value_length(column), 0)
        else:
            values, lengths = column.drop_null(), column.is_valid().cast(pa.int32())
        offsets = np.append(0, np.cumsum(lengths.to_numpy(zero_copy_only=False)))
        offsets = pa.array(offsets, pa.int32())
        columns.append(pa.ListArray.from_arrays(offsets, to_feature_values(values)))
    lists = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
    examples = map(tf.train.Example.FromString, RecordBatchToExamplesEncoder().encode(lists))
    return [example.SerializeToString(deterministic=True) for example in examples]


@st.composite
def batches(draw: st.DrawFn) -> tuple[pa.RecordBatch, dict[str, Kind]]:
    """Rows of any types, sliced out of a longer batch; and the kind of each column."""
    before, rows, behind = draw(st.tuples(st.integers(0, 3), st.integers(1, 8), st.integers(0, 2)))
    names = draw(st.lists(NAMES, min_size=1, max_size=8, unique=True))
    columns, kinds = [], {}
    for name in names:
        kind = kinds[name] = draw(st.sampled_from(KINDS))
        values, arrow = kind.values, kind.arrow
        if draw(st.booleans()):
            values, arrow = st.lists(values, max_size=4), pa.list_(arrow)
        if draw(st.booleans()):
            values |= st.none()
        length = before + rows + behind
        columns.append(pa.array(draw(st.lists(values, min_size=length, max_size=length)), arrow))
    return pa.RecordBatch.from_arrays(columns, names=names).slice(before, rows), kinds


@given(batches())
@settings(max_examples=400)
def test_the_bytes_are_protobufs_deterministic_form_of_tfx_bsls(
    drawn: tuple[pa.RecordBatch, dict[str, Kind]],
) -> None:
    batch, _ = drawn
    examples = encode(batch)
    assert examples == tfx_bsl_examples(batch)
    assert examples == [canonical(example) for example in examples]


def same(left: Any, right: Any) -> bool:
    """Equal, and so are the signs of zeros; NaN is NaN."""
    if isinstance(left, (float, np.floating)):
        return np.array_equal(left, right, equal_nan=True) and np.signbit(left) == np.signbit(right)
    return bool(left == right)


@given(batches())
@settings(max_examples=120)
def test_tensorflow_reads_what_went_in(drawn: tuple[pa.RecordBatch, dict[str, Kind]]) -> None:
    batch, kinds = drawn
    features = {}
    for number, (name, kind) in enumerate(kinds.items()):
        dtype = TF_TYPES[FEATURE_KINDS[kind.spark.partition("(")[0]]]
        features[str(number)] = tf.io.RaggedFeature(dtype, value_key=name)
    parsed = tf.io.parse_example(tf.constant(encode(batch)), features)
    for number, (name, kind) in enumerate(kinds.items()):
        went_in = batch.column(batch.schema.names.index(name))
        came_out = parsed[str(number)]
        values, lengths = came_out.values.numpy().tolist(), came_out.row_lengths().numpy().tolist()
        rows = [
            [] if row is None else row if isinstance(row, list) else [row]
            for row in went_in.to_pylist()
        ]
        assert lengths == [len(row) for row in rows]
        expected = [kind.feature_value(value) for row in rows for value in row]
        assert all(itertools.starmap(same, zip(expected, values, strict=True))), (expected, values)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([True, False, None]), [[1], [0], []]),
        (pa.array([0, None], pa.int8()), [[0], []]),
        (pa.array([0.0, -0.0]), [[0.0], [-0.0]]),
        (pa.array([1e300, 1.5]), [[np.inf], [1.5]]),
        (pa.array([b"\x00\xff", b"", None]), [[b"\x00\xff"], [b""], []]),
        (pa.array([decimal.Decimal("12.50"), None]), [[12.5], []]),
        (pa.array([dt.date(1970, 1, 11), dt.date(1969, 12, 31)]), [[10], [-1]]),
        (pa.array([dt.datetime(1970, 1, 1, 0, 0, 1)], pa.timestamp("us", tz="UTC")), [[1_000_000]]),
        (pa.array([["a", ""], [], None]), [[b"a", b""], [], []]),
        (pa.array([[], None], pa.list_(pa.int64())), [[], []]),
        (pa.array([None, None], pa.string()), [[], []]),
    ],
)
def test_each_type(column: pa.Array, expected: list) -> None:
    examples = [tf.train.Example.FromString(example) for example in encode(one_column(column))]
    kind = {bytes: "bytes_list", float: "float_list", int: "int64_list"}
    for example, values in zip(examples, expected, strict=True):
        feature = example.features.feature["x"]
        name = feature.WhichOneof("kind")  # there is one, also without a value
        assert list(getattr(feature, name).value) == values
        assert not values or name == kind[type(values[0])]


def test_nan_keeps_its_bits() -> None:
    bits = np.array([0x7FC00001, 0xFFC00000, 0x7F800000], np.uint32)
    (feature,) = (
        tf.train.Example.FromString(example).features.feature["x"]
        for example in encode(one_column(pa.array([bits.view(np.float32)], pa.list_(pa.float32()))))
    )
    assert feature.float_list.SerializeToString()[2:] == bits.tobytes()


@pytest.mark.parametrize("length", [126, 127, 128, 129, 16_383, 16_384, 2_097_152])
def test_lengths_where_a_varint_grows(length: int) -> None:
    columns = {
        "text": pa.array(["x" * length, "", None, "y" * (length - 10)]),
        "texts": pa.array([["x" * (length - 6)], ["x"] * (length % 1000), [], None]),
        "numbers": pa.array([list(range(length % 1000)), [-1] * (length % 300), [0], []]),
        "floats": pa.array([[0.5] * (length % 1000), [], None, [1.0]], pa.list_(pa.float32())),
        "n" * (length % 20_000): pa.array([1, None, -1, 1 << 62]),
    }
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    assert encode(batch) == tfx_bsl_examples(batch)


def test_hundreds_of_columns() -> None:
    texts = pa.array(["x" * length for length in (0, 1, 300)])
    columns = {f"feature {i * 7919 % 500}": texts for i in range(500)} | {"n": pa.array([1, -1, 0])}
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    assert encode(batch) == tfx_bsl_examples(batch)


def test_what_lies_below_a_null_stays_there() -> None:
    buffers = [pa.py_buffer(b"\x05"), pa.py_buffer(np.array([0, 1, 3, 4], np.int32)), b"abcd"]
    texts = pa.Array.from_buffers(pa.string(), 3, [*buffers[:2], pa.py_buffer(buffers[2])])
    numbers = pa.Array.from_buffers(
        pa.int64(), 3, [pa.py_buffer(b"\x05"), pa.py_buffer(np.array([1, -7, 3]))]
    )
    bounds = pa.array([0, 1, 3, 4], pa.int32())
    lists = pa.Array.from_buffers(
        pa.list_(pa.int64()),
        3,
        [pa.py_buffer(b"\x05"), bounds.buffers()[1]],
        children=[pa.array([1, None, 3, 4])],
    )
    columns = [texts, numbers, lists]
    expected = [pa.array(column.to_pylist(), column.type) for column in columns]
    encoded, plain = (
        encode(pa.RecordBatch.from_arrays(arrays, names=["texts", "numbers", "lists"]))
        for arrays in (columns, expected)
    )
    assert encoded == plain


def test_parts_are_small_and_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["x" * length for length in (5, 200_000, 0, 300_000, 7, 90_000)]
    batch = pa.RecordBatch.from_arrays([pa.array(texts), pa.array(range(6))], names=["t", "n"])
    whole = encode(batch)
    monkeypatch.setattr(encoding, "_PART_EXAMPLE_BYTES", 4 * 34)
    monkeypatch.setattr(encoding, "_PART_ARROW_BYTES", 250_000)
    parts = list(ExampleEncoder().encode(batch))
    assert [part.num_rows for part, _ in parts] == [3, 1, 2]
    assert [example for _, part in parts for example in part.to_pylist()] == whole
    assert pa.Table.from_batches([part for part, _ in parts]) == pa.Table.from_batches([batch])


def test_a_row_too_large_for_an_example_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "_EXAMPLE_MAX_BYTES", 1000)
    with pytest.raises(ComponentError, match=r"a row has 1,01\d bytes"):
        encode(one_column(pa.array(["", "x" * 1000])))


def test_an_array_too_long_for_an_example_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(byte_columns, "_LARGEST_MATRIX", 1000)
    with pytest.raises(ComponentError, match="an array has 2,000 values"):
        encode(one_column(pa.array([list(range(2000))])))


def test_an_empty_batch_has_no_examples() -> None:
    assert encode(one_column(pa.array([], pa.int64()))) == []
    assert encode(pa.RecordBatch.from_arrays([], names=[])) == []


def test_columns_of_one_name_are_refused() -> None:
    batch = pa.RecordBatch.from_arrays([pa.array([1])] * 2, names=["x", "x"])
    with pytest.raises(ComponentError, match="two columns are named 'x'"):
        encode(batch)


def test_null_elements_are_refused() -> None:
    with pytest.raises(ComponentError, match="column 'x': an array holds a null"):
        encode(one_column(pa.array([[1, None]])))


@pytest.mark.parametrize("column", [[{"a": 1}], [[[1]]], [dt.time(1)], [None]])
def test_arrow_types_no_feature_can_hold(column: list) -> None:
    with pytest.raises(ComponentError, match="has no feature"):
        encode(one_column(pa.array(column)))


@pytest.mark.parametrize("kind", ["struct<a:int>", "map<string,int>", "array<array<int>>"])
def test_types_no_feature_can_hold_name_the_column(kind: str) -> None:
    with pytest.raises(ComponentError, match="column 'where'"):
        check_types({"fine": "int", "where": kind})


def test_every_type_of_the_table_is_accepted_and_tested() -> None:
    check_types(dict.fromkeys(FEATURE_KINDS, "int"))
    check_types({f"c{i}": f"array<{kind}>" for i, kind in enumerate(FEATURE_KINDS)})
    check_types({"money": "decimal(10,2)", "amounts": "array<decimal(10,2)>"})
    assert {kind.spark.partition("(")[0] for kind in KINDS} == set(FEATURE_KINDS)
