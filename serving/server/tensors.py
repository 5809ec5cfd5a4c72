"""Converts between TensorProto and numpy, for unchecked requests.

A TensorProto is read as by TensorFlow's C++ (tensorflow/core/framework/tensor.cc,
Tensor::FromProto) and so by TensorFlow Serving: excess values are ignored, the last value is
repeated if there are too few, and no values mean zeros. `tf.make_ndarray` rejects excess values.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving.server.errors import invalid

# A small message may ask for a huge tensor, so the bytes of repeated values are limited.
MOST_REPEATED_BYTES = 64 << 20
_STRING_BYTES = 32  # overhead of a string
_FIELDS = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int8: "int_val",
    tf.int16: "int_val",
    tf.int32: "int_val",
    tf.uint8: "int_val",
    tf.uint16: "int_val",
    tf.int64: "int64_val",
    tf.uint32: "uint32_val",
    tf.uint64: "uint64_val",
    tf.bool: "bool_val",
    tf.string: "string_val",
}
_WIDER = {"int_val": np.int32}  # type of a field that also holds narrower types


def to_array(
    alias: str, proto: tensor_pb2.TensorProto, info: meta_graph_pb2.TensorInfo
) -> np.ndarray:
    """Converts the tensor of a request. The model's graph checks whether its shape fits.

    Args:
      alias: Name of the input, for messages.
      proto: Tensor that was sent.
      info: Input of the signature.

    Returns:
      The values, of the signature's type and of the shape that was sent.

    Raises:
      ServingError: The type differs from the signature, or shape and content do not match.
    """
    if proto.dtype != info.dtype:
        raise invalid(
            f'input "{alias}" is {_type_name(proto.dtype)}, but the signature expects '
            f"{_type_name(info.dtype)}"
        )
    shape = [dimension.size for dimension in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise invalid(f'input "{alias}" has an incomplete shape')
    _check_size(alias, proto, shape)
    try:
        return _values(proto, math.prod(shape)).reshape(shape)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise invalid(f'tensor parsing error of input "{alias}": {error}') from None


def to_proto(array: np.ndarray) -> tensor_pb2.TensorProto:
    """Converts the tensor of a response. Values go to the field of their type, for all clients."""
    kind = tf.as_dtype(array.dtype)
    field = _FIELDS.get(kind)
    if field is None:
        return tf.make_tensor_proto(array)
    proto = tensor_pb2.TensorProto(dtype=kind.as_datatype_enum)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    getattr(proto, field).extend(array.ravel().tolist())
    return proto


def output_array(computed: object) -> np.ndarray:
    """Returns an output as an array. For a scalar, a session returns the plain value."""
    if isinstance(computed, np.ndarray):
        return computed
    # numpy's bytes type strips trailing zeros.
    kind = object if isinstance(computed, (bytes, str)) else None
    return np.asarray(computed, dtype=kind)


def check_finite(alias: str, array: np.ndarray) -> None:
    """Rejects NaN and infinity in an output, which cannot be ranked or written as JSON.

    Args:
      alias: Name of the output, for messages.
      array: Output of any type, [rows, ...].

    Raises:
      ServingError: A value is NaN or infinite. The message names the first such row.
    """
    if not tf.as_dtype(array.dtype).is_floating:
        return
    finite = np.isfinite(array)
    if finite.all():
        return
    place = tuple(np.argwhere(~finite)[0].tolist())
    example = f"example {place[0]}: " if place else ""
    raise invalid(
        f'{example}output "{alias}" must be a finite number. Received: {array[place]}. Look for a '
        "value in the request that is not finite or far outside of the training data. If there is "
        "none, roll back to an earlier version of the model."
    )


def _values(proto: tensor_pb2.TensorProto, count: int) -> np.ndarray:
    """Returns a flat array of `count` values."""
    kind = tf.as_dtype(proto.dtype)
    if kind not in _FIELDS:
        found: np.ndarray = tf.make_ndarray(proto)
        return found
    if count == 0:
        return np.zeros(0, kind.as_numpy_dtype)
    if proto.tensor_content:
        return _of_content(proto.tensor_content, kind, count)
    field = _FIELDS[kind]
    sent = getattr(proto, field)[:count]
    if kind == tf.string:
        last = sent[-1] if sent else b""
        return np.array([*sent, *[last] * (count - len(sent))], dtype=object)
    values = np.full(count, sent[-1] if sent else 0, _WIDER.get(field, kind.as_numpy_dtype))
    values[: len(sent)] = sent
    return values.astype(kind.as_numpy_dtype, copy=False)  # narrower types wrap, as in C++


def _of_content(content: bytes, kind: tf.DType, count: int) -> np.ndarray:
    """Returns the `count` values of tensor_content.

    Raises:
      ValueError: There are more or fewer values.
    """
    if kind == tf.string:
        return _strings(content, count)
    values = np.frombuffer(content, kind.as_numpy_dtype)
    if len(values) != count:
        raise ValueError(
            f"tensor_content must have {count:,} values for its shape. Received: {len(values):,}"
        )
    return values.copy()


def _strings(content: bytes, count: int) -> np.ndarray:
    """Decodes TensorFlow's format of strings: all lengths as varints, then all contents."""
    sizes, place = [], 0
    for _ in range(count):
        size = shift = 0
        while True:
            if place >= len(content) or shift > 28:
                raise ValueError("tensor_content must have a length for each string")
            byte = content[place]
            place, size, shift = place + 1, size | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                break
        sizes.append(size)
    if place + sum(sizes) != len(content):
        raise ValueError("the lengths of the strings must add up to the size of tensor_content")
    values = np.empty(count, dtype=object)
    for number, size in enumerate(sizes):
        values[number] = content[place : place + size]
        place += size
    return values


def _check_size(alias: str, proto: tensor_pb2.TensorProto, shape: list[int]) -> None:
    """Rejects shapes that are much larger than the content."""
    if proto.tensor_content:
        sent, each = len(proto.tensor_content), 1
    else:
        names = {"dtype", "tensor_shape", "version_number", "tensor_content"}
        fields = [value for field, value in proto.ListFields() if field.name not in names]
        sent = max((len(value) for value in fields), default=0)
        each = _STRING_BYTES + (len(proto.string_val[-1]) if proto.string_val else 0)
        if tf.as_dtype(proto.dtype) != tf.string:
            each = tf.as_dtype(proto.dtype).size or 1
    count = math.prod(shape)
    if (count - sent) * each > MOST_REPEATED_BYTES:
        raise invalid(
            f'input "{alias}" has shape {shape}: {count:,} elements, but {sent:,} values; the last '
            f"one is repeated to at most {MOST_REPEATED_BYTES:,} bytes. Send the values themselves."
        )


def _type_name(number: int) -> str:
    names = tf.dtypes.DType
    try:
        return names(number).name
    except (TypeError, ValueError):
        return f"of unknown type {number}"
