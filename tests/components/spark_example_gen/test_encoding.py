"""Arrow to tf.Example and back: what goes in comes out, also zeros, nulls, NaN and empty lists."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from pathlib import Path

import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from components.errors import ComponentError
from components.spark_example_gen.encoding import FEATURE_KINDS, ExampleEncoder, check_types
from components.spark_example_gen.shards import TFRecordShard
from components.spark_example_gen.splits import canonical

pytestmark = pytest.mark.unit

ROWS = st.integers(1, 20)
INT64 = st.integers(-(2**63), 2**63 - 1)
FLOAT32 = st.floats(width=32)


def round_trip(column: pa.Array, dtype: tf.DType) -> list[list]:
    """Encodes a batch of one column, parses it with TensorFlow."""
    encoded = ExampleEncoder().encode(pa.RecordBatch.from_arrays([column], names=["x"]))
    parsed = tf.io.parse_example(tf.constant(encoded), {"x": tf.io.RaggedFeature(dtype)})
    return parsed["x"].to_list()


@given(st.lists(st.none() | INT64, min_size=1, max_size=30))
@settings(deadline=None, max_examples=50)
def test_integers(values: list[int | None]) -> None:
    result = round_trip(pa.array(values, pa.int64()), tf.int64)
    assert result == [[] if v is None else [v] for v in values]


@given(st.lists(st.none() | st.text() | st.just(""), min_size=1, max_size=30))
@settings(deadline=None, max_examples=50)
def test_texts(values: list[str | None]) -> None:
    result = round_trip(pa.array(values, pa.string()), tf.string)
    assert result == [[] if v is None else [v.encode()] for v in values]


@given(st.lists(st.none() | FLOAT32, min_size=1, max_size=30))
@settings(deadline=None, max_examples=50)
def test_floats(values: list[float | None]) -> None:
    result = round_trip(pa.array(values, pa.float32()), tf.float32)
    for value, got in zip(values, result, strict=True):
        if value is None:
            assert got == []
        elif math.isnan(value):
            assert len(got) == 1
            assert math.isnan(got[0])
        else:
            assert got == [value]


@given(st.lists(st.none() | st.lists(INT64, max_size=5), min_size=1, max_size=20))
@settings(deadline=None, max_examples=50)
def test_arrays(values: list[list[int] | None]) -> None:
    result = round_trip(pa.array(values, pa.list_(pa.int64())), tf.int64)
    assert result == [v or [] for v in values]


@pytest.mark.parametrize(
    ("column", "dtype", "expected"),
    [
        (pa.array([True, False, None]), tf.int64, [[1], [0], []]),
        (pa.array([0, 0], pa.int8()), tf.int64, [[0], [0]]),
        (pa.array([0.0, -0.0]), tf.float32, [[0.0], [-0.0]]),
        (pa.array([1e300, 1.5]), tf.float32, [[math.inf], [1.5]]),
        (pa.array([b"\x00\xff", b""]), tf.string, [[b"\x00\xff"], [b""]]),
        (pa.array([decimal.Decimal("12.50"), None]), tf.float32, [[12.5], []]),
        (pa.array([dt.date(1970, 1, 11)]), tf.int64, [[10]]),
        (
            pa.array([dt.datetime(1970, 1, 1, 0, 0, 1)], pa.timestamp("us", tz="UTC")),
            tf.int64,
            [[1_000_000]],
        ),
        (pa.array([["a", ""], [], None]), tf.string, [[b"a", b""], [], []]),
    ],
)
def test_each_type(column: pa.Array, dtype: tf.DType, expected: list) -> None:
    assert round_trip(column, dtype) == expected


def test_a_sliced_batch_keeps_its_own_rows() -> None:
    column = pa.array([[1], [2, 3], None, [4]], pa.list_(pa.int64())).slice(1, 3)
    assert round_trip(column, tf.int64) == [[2, 3], [], [4]]
    assert round_trip(pa.array([1, None, 3, 4]).slice(1, 2), tf.int64) == [[], [3]]


def test_the_canonical_form_is_protobufs_own() -> None:
    texts = pa.array(["x" * length for length in (0, 1, 300)])
    columns = {f"feature {i * 7919 % 50}": texts for i in range(50)} | {"n": pa.array([1, -1, 0])}
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    for encoded in ExampleEncoder().encode(batch):
        example = tf.train.Example.FromString(encoded)
        assert canonical(encoded) == example.SerializeToString(deterministic=True)


def test_null_elements_are_refused() -> None:
    with pytest.raises(ComponentError, match="null element"):
        round_trip(pa.array([[1, None]]), tf.int64)


@pytest.mark.parametrize("kind", ["struct<a:int>", "map<string,int>", "array<array<int>>"])
def test_types_no_feature_can_hold_name_the_column(kind: str) -> None:
    with pytest.raises(ComponentError, match="column 'where'"):
        check_types({"fine": "int", "where": kind})


def test_every_type_of_the_table_is_accepted() -> None:
    check_types(dict.fromkeys(FEATURE_KINDS, "int"))
    check_types({f"c{i}": f"array<{kind}>" for i, kind in enumerate(FEATURE_KINDS)})
    check_types({"money": "decimal(10,2)", "amounts": "array<decimal(10,2)>"})


def test_a_shard_is_what_tensorflow_reads(tmp_path: Path) -> None:
    shard = TFRecordShard(tmp_path / "shard.gz")
    records = [b"", b"one", b"x" * 100_000]
    for record in records:
        shard.write(record)
    shard.close()
    read = tf.data.TFRecordDataset(str(shard.path), compression_type="GZIP")
    assert list(read.as_numpy_iterator()) == records
    assert (shard.rows, shard.bytes) == (3, shard.path.stat().st_size)
