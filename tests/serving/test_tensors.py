"""TensorProto is read as by TensorFlow's C++ (Tensor::FromProto), which TensorFlow Serving uses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving.server.errors import Code, ServingError
from serving.server.tensors import to_array, to_proto

pytestmark = pytest.mark.unit


def tensor(kind: tf.DType, shape: list[int], **content: Any) -> tensor_pb2.TensorProto:
    proto = tensor_pb2.TensorProto(dtype=kind.as_datatype_enum, **content)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def read(proto: tensor_pb2.TensorProto) -> np.ndarray:
    return to_array("x", proto, meta_graph_pb2.TensorInfo(dtype=proto.dtype))


def refusal(proto: tensor_pb2.TensorProto) -> str:
    with pytest.raises(ServingError) as raised:
        read(proto)
    assert raised.value.code == Code.INVALID_ARGUMENT
    return raised.value.message


@pytest.mark.parametrize(
    ("proto", "values"),
    [
        (tensor(tf.float32, [3], float_val=[1, 2]), [1, 2, 2]),
        (tensor(tf.float32, [1], float_val=[1, 2]), [1]),
        (tensor(tf.float32, [2, 1]), [[0], [0]]),
        (tensor(tf.float32, [0, 2]), []),
        (tensor(tf.int64, [], int64_val=[7]), 7),
        (tensor(tf.bool, [2], bool_val=[True]), [True, True]),
        (tensor(tf.uint8, [2], int_val=[300, -1]), [44, 255]),
        (tensor(tf.float16, [2], half_val=[0x3C00]), [1, 1]),
        (tensor(tf.string, [], string_val=[b"a\0"]), b"a\0"),
        (tensor(tf.string, [2]), [b"", b""]),
        (tensor(tf.string, [3], string_val=[b"a", b"b"]), [b"a", b"b", b"b"]),
        (tensor(tf.string, [2], tensor_content=b"\x01\x02abc"), [b"a", b"bc"]),
    ],
)
def test_values_are_cut_or_repeated_to_the_shape(
    proto: tensor_pb2.TensorProto, values: Any
) -> None:
    """tensorflow/core/framework/tensor.cc, FromProtoField: the last one is repeated."""
    assert read(proto).tolist() == values


def test_one_value_may_fill_an_image() -> None:
    proto = tensor(tf.float32, [8, 224, 224, 3], float_val=[0.5])
    assert read(proto).shape == (8, 224, 224, 3)
    assert (read(proto) == 0.5).all()


@pytest.mark.parametrize(
    ("proto", "text"),
    [
        (tensor(tf.float32, [1 << 40], float_val=[1]), "1 values; the last one is repeated to at"),
        (tensor(tf.string, [1 << 16], string_val=[b"x" * 100_000]), "repeated to at most"),
        (tensor(tf.string, [1 << 24]), "repeated to at most"),
        (tensor(tf.float32, [-1], float_val=[1]), "incomplete shape"),
        (tensor(tf.float32, [0, 1 << 62, 1 << 62]), "tensor parsing error"),
        (tensor(tf.float32, [1] * 300, float_val=[1]), "tensor parsing error"),
        (tensor(tf.float32, [2], tensor_content=b"\0" * 7), "tensor parsing error"),
        (tensor(tf.float32, [3], tensor_content=b"\0" * 8), "must have 3 values for its shape"),
        (tensor(tf.string, [2], tensor_content=b"\x01\x05abc"), "must add up to the size"),
        (tensor(tf.string, [2], tensor_content=b"\x81"), "must have a length for each string"),
        (tensor(tf.resource, [1]), "tensor parsing error"),
    ],
)
def test_a_shape_that_does_not_match_its_content_is_rejected(
    proto: tensor_pb2.TensorProto, text: str
) -> None:
    assert text in refusal(proto)


def test_a_type_other_than_the_signatures_is_rejected() -> None:
    with pytest.raises(ServingError, match="is string, but the signature expects float32"):
        to_array("x", tensor(tf.string, [0]), meta_graph_pb2.TensorInfo(dtype=1))
    with pytest.raises(ServingError, match="of unknown type 99"):
        to_array("x", tensor_pb2.TensorProto(dtype=99), meta_graph_pb2.TensorInfo(dtype=1))


kinds = st.sampled_from(
    [np.float16, np.float32, np.float64, np.int8, np.int32, np.int64, np.uint8, np.uint64, np.bool_]
)


@given(kinds.flatmap(lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, min_side=0))))
def test_an_array_survives_the_round_trip(array: np.ndarray) -> None:
    for proto in (to_proto(array), tf.make_tensor_proto(array)):
        found = read(proto)
        assert found.dtype == array.dtype
        assert np.array_equal(found, array, equal_nan=array.dtype.kind == "f")


@given(st.lists(st.binary(max_size=300), max_size=6))
def test_strings_survive_the_round_trip(values: list[bytes]) -> None:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    assert read(to_proto(array)).tolist() == values
    assert tf.make_ndarray(to_proto(array)).tolist() == values
