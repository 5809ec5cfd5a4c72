"""Splits are TFX's own."""

from __future__ import annotations

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tfx.components.example_gen.base_example_gen_executor import _PartitionFn
from tfx.proto import example_gen_pb2

from components.errors import ComponentError
from components.spark_example_gen.splits import HashSplits, serialized_feature

pytestmark = pytest.mark.unit

VALUES = st.one_of(st.text(), st.binary(), st.integers(-(2**63), 2**63 - 1))


def feature_of(value: str | bytes | int) -> tf.train.Feature:
    if isinstance(value, int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    data = value.encode() if isinstance(value, str) else value
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))


@given(VALUES)
@settings(deadline=None)
def test_the_bytes_that_are_hashed_are_protobufs(value: str | bytes | int) -> None:
    expected = feature_of(value).SerializeToString(deterministic=True)
    assert serialized_feature(value, "f") == expected


@given(VALUES, st.lists(st.integers(1, 50), min_size=1, max_size=5))
@settings(deadline=None)
def test_assignment_equals_tfx(value: str | bytes | int, buckets: list[int]) -> None:
    bounds = [sum(buckets[: i + 1]) for i in range(len(buckets))]
    example = tf.train.Example(features=tf.train.Features(feature={"f": feature_of(value)}))
    config = example_gen_pb2.SplitConfig(partition_feature_name="f")
    names = tuple(f"s{i}" for i in range(len(buckets)))
    by_feature = HashSplits(names, tuple(buckets), "f")
    whole = HashSplits(names, tuple(buckets))
    encoded = example.SerializeToString(deterministic=True)
    assert by_feature.assign(by_feature.keys([value], [encoded])) == [
        _PartitionFn(example, len(bounds), bounds, config)
    ]
    assert whole.assign(whole.keys([], [encoded])) == [
        _PartitionFn(example, len(bounds), bounds, example_gen_pb2.SplitConfig())
    ]


@pytest.mark.parametrize(("value", "message"), [(None, "is null"), (1.5, "string or an integer")])
def test_values_that_cannot_be_hashed(value: object, message: str) -> None:
    with pytest.raises(ComponentError, match=message):
        serialized_feature(value, "f")  # type: ignore[arg-type]
