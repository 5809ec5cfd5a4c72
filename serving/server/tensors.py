"""TensorProto and numpy, both ways, for requests that nobody has checked."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving.server.errors import invalid

MOST_ELEMENTS = 16 << 20  # a shape is quickly written and dearly allocated
MOST_REPEATED = 65_536  # elements of a tensor whose last value stands for all that follow
_FIELDS = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int32: "int_val",
    tf.int64: "int64_val",
    tf.bool: "bool_val",
    tf.string: "string_val",
}


def to_array(
    alias: str, proto: tensor_pb2.TensorProto, info: meta_graph_pb2.TensorInfo
) -> np.ndarray:
    """The tensor of a request.

    Args:
      alias: its name, for messages.
      proto: what was sent.
      info: what the signature wants.

    Raises:
      ServingError: type, shape or content do not fit.
    """
    if proto.dtype != info.dtype:
        raise invalid(
            f'input "{alias}" is {_type_name(proto.dtype)}, but the signature expects '
            f"{_type_name(info.dtype)}"
        )
    shape = [dimension.size for dimension in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise invalid(f'input "{alias}" has an incomplete shape')
    if math.prod(shape) > MOST_ELEMENTS:
        raise invalid(f'input "{alias}" has shape {shape}: more than {MOST_ELEMENTS:,} elements')
    if math.prod(shape) > max(MOST_REPEATED, _values_sent(proto)):
        raise invalid(
            f'input "{alias}" has shape {shape}, but {_values_sent(proto):,} values; the last one '
            f"is repeated for up to {MOST_REPEATED:,} elements only"
        )
    _check_shape(alias, shape, info.tensor_shape)
    try:
        return tf.make_ndarray(proto)
    except (ValueError, TypeError, OverflowError) as error:
        raise invalid(f'tensor parsing error of input "{alias}": {error}') from None


def to_proto(array: np.ndarray) -> tensor_pb2.TensorProto:
    """The tensor of a response, in the field of its type, where many clients look for it."""
    kind = tf.as_dtype(array.dtype)
    field = _FIELDS.get(kind)
    if field is None:
        return tf.make_tensor_proto(array)
    proto = tensor_pb2.TensorProto(dtype=kind.as_datatype_enum)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    getattr(proto, field).extend(array.ravel().tolist())
    return proto


def check_finite(alias: str, array: np.ndarray) -> None:
    """Refuses an answer that is no number: JSON has none for it, and nothing can be ranked by it.

    Args:
      alias: The output's name, for messages.
      array: The output, [rows, ...], of any type.

    Raises:
      ServingError: A value is NaN or infinite. It names the first such row.
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
        "value in the request that is not finite or far beyond those of the training; if there is "
        "none, roll back to an earlier version of the model."
    )


def _values_sent(proto: tensor_pb2.TensorProto) -> int:
    """How many values are written out; bytes where they are sent as such."""
    if proto.tensor_content:
        return len(proto.tensor_content)
    names = {"dtype", "tensor_shape", "version_number", "tensor_content"}
    sent = (value for field, value in proto.ListFields() if field.name not in names)
    return max((len(value) for value in sent), default=0)


def _check_shape(alias: str, shape: list[int], wanted: tensor_shape_pb2.TensorShapeProto) -> None:
    if wanted.unknown_rank:
        return
    sizes = [dimension.size for dimension in wanted.dim]
    fits = len(shape) == len(sizes) and all(
        size in (-1, given) for given, size in zip(shape, sizes, strict=True)
    )
    if not fits:
        shown = [None if size == -1 else size for size in sizes]
        raise invalid(
            f'input "{alias}" has shape {shape}, but the signature expects {shown} (None: any size)'
        )


def _type_name(number: int) -> str:
    names = tf.dtypes.DType
    try:
        return names(number).name
    except (TypeError, ValueError):
        return f"of unknown type {number}"
