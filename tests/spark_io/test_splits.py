"""Splits by hash are TFX's own; a split by time is a comparison."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tfx.components.example_gen.base_example_gen_executor import _PartitionFn
from tfx.proto import example_gen_pb2

from base.errors import ComponentError
from spark_io.examples.encoding import ExampleEncoder
from spark_io.examples.splits import HashSplits, Splits, TimeSplit

pytestmark = pytest.mark.unit

INT64 = st.integers(-(2**63), 2**63 - 1)
BUCKETS = st.lists(st.integers(1, 50) | st.integers(1, 2**29), min_size=1, max_size=5)
COLUMNS = st.one_of(
    st.lists(st.text(max_size=3), min_size=1).map(pa.array),
    st.lists(st.binary(max_size=3), min_size=1).map(pa.array),
    st.lists(INT64 | st.integers(0, 5), min_size=1).map(pa.array),
    st.lists(st.booleans(), min_size=1).map(pa.array),
)
CUT = dt.datetime(2024, 3, 1, 12, 30, tzinfo=dt.timezone.utc)
CUT_US = int(CUT.timestamp()) * 1_000_000


def assigned(splits: Splits, column: pa.Array) -> list[int]:
    """The splits of rows with this column 'x', and another one."""
    numbers = pa.array(range(len(column)), pa.int64())
    batch = pa.RecordBatch.from_arrays([numbers, column], names=["number", "x"])
    parts = ExampleEncoder().encode(batch)
    return [int(split) for part in parts for split in splits.assign_batch(*part)]


def feature_of(value: str | bytes | int) -> tf.train.Feature:
    if isinstance(value, int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    data = value.encode() if isinstance(value, str) else value
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))


@given(COLUMNS, st.integers(0, 2), BUCKETS)
def test_assignment_equals_tfx(column: pa.Array, skipped: int, buckets: list[int]) -> None:
    column = column.slice(skipped)
    bounds = np.cumsum(buckets).tolist()
    names = tuple(f"s{i}" for i in range(len(buckets)))
    for feature in (None, "x"):
        config = example_gen_pb2.SplitConfig(partition_feature_name=feature)
        expected = []
        for number, value in enumerate(column.to_pylist()):
            features = {"number": feature_of(number), "x": feature_of(value)}
            example = tf.train.Example(features=tf.train.Features(feature=features))
            expected.append(_PartitionFn(example, len(bounds), bounds, config))
        assert assigned(HashSplits(names, tuple(buckets), feature), column) == expected


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array(["a", None]), "'x' is null"),
        (pa.array([1.5]), "string or an integer"),
        (pa.array([["a"]]), "string or an integer"),
        (pa.array([dt.date(2024, 3, 1)]), "string or an integer"),
    ],
)
def test_values_that_cannot_be_hashed(column: pa.Array, message: str) -> None:
    with pytest.raises(ComponentError, match=message):
        assigned(HashSplits(("train", "eval"), (2, 1), "x"), column)


def test_too_many_buckets_are_an_error() -> None:
    with pytest.raises(ComponentError, match="4,294,967,296 hash buckets"):
        HashSplits(("train", "eval"), (2**31, 2**31))


@pytest.mark.parametrize("kind", [pa.timestamp("us", tz="UTC"), pa.timestamp("us")], ids=str)
def test_a_row_at_the_cut_is_in_the_second_split(kind: pa.DataType) -> None:
    times = [CUT_US - 1, CUT_US, CUT_US + 1, -1]
    splits = TimeSplit(("train", "eval"), "x", (CUT_US,))
    assert assigned(splits, pa.array(times, pa.int64()).cast(kind)) == [0, 1, 1, 0]


@pytest.mark.parametrize("kind", [pa.timestamp("s"), pa.timestamp("ns"), pa.date64()], ids=str)
def test_other_units_of_arrow(kind: pa.DataType) -> None:
    days = pa.array([dt.datetime(2024, 3, 1), dt.datetime(2024, 3, 2)]).cast(kind)
    column = TimeSplit(("train", "eval"), "x", (CUT_US,))
    batch = pa.RecordBatch.from_arrays([days], names=["x"])
    assert column.assign_batch(batch, pa.array([b"", b""])).tolist() == [0, 1]


def test_a_date_is_its_midnight() -> None:
    days = pa.array([dt.date(1969, 12, 31), dt.date(2024, 3, 1), dt.date(2024, 3, 2)])
    assert assigned(TimeSplit(("train", "eval"), "x", (CUT_US,)), days) == [0, 0, 1]
    midnight = int(dt.datetime(2024, 3, 1, tzinfo=dt.timezone.utc).timestamp()) * 1_000_000
    assert assigned(TimeSplit(("train", "eval"), "x", (midnight,)), days) == [0, 1, 1]


@given(
    st.sets(st.integers(-(2**53), 2**53), min_size=1, max_size=3).map(sorted),
    st.lists(INT64 | st.integers(-2, 2), min_size=1),
    st.sampled_from([("s", 1_000_000), ("ms", 1000), ("us", 1)]),
)
def test_integers_count_in_their_unit(
    cuts: list[int], times: list[int], unit: tuple[str, int]
) -> None:
    name, microseconds = unit
    near = [cut // microseconds + more for cut in cuts for more in (-1, 0, 1)]
    expected = [sum(time * microseconds >= cut for cut in cuts) for time in times + near]
    names = tuple(f"split {n}" for n in range(len(cuts) + 1))
    splits = TimeSplit(names, "x", tuple(sorted(cuts)), name)
    assert assigned(splits, pa.array(times + near, pa.int64())) == expected


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([1, None]), "time column 'x' is null"),
        (pa.array([1.5]), "'x' is of Arrow type double"),
    ],
)
def test_rows_without_a_time(column: pa.Array, message: str) -> None:
    with pytest.raises(ComponentError, match=message):
        assigned(TimeSplit(("train", "eval"), "x", (CUT_US,)), column)
