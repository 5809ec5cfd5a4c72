"""Converts the JSON of TensorFlow Serving's REST API to requests, and responses to JSON.

The format is that of https://www.tensorflow.org/tfx/serving/api_rest: rows ("instances") or columns
("inputs"), and {"b64": ...} for bytes and for outputs whose names end in _bytes. Rules and texts
are those of TensorFlow Serving's util/json_tensor.cc. A request may contain the literals NaN,
Infinity and -Infinity, an answer may not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    input_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.server.errors import invalid
from serving.server.json_text import (
    decode_base64,
    is_base64,
    is_utf8,
    json_type,
    shortened,
    to_bytes,
    to_json,
)
from serving.server.tensors import to_proto

_MAX_DIMENSIONS = 32  # of a numpy array
_INT32 = np.iinfo(np.int32)
_NARROW = (tf.int8, tf.uint8, tf.int16)  # parsed as int32 and then cast, as in C++
_TYPE_NAMES = {tf.float32: "float", tf.float64: "double", tf.float16: "half"}  # TensorFlow's own
_Infos = Mapping[str, meta_graph_pb2.TensorInfo]


def fill_predict(document: Mapping[str, Any], infos: _Infos, request: Any) -> bool:
    """Sets the inputs of a PredictRequest.

    Args:
      document: JSON object of the request.
      infos: Inputs of the signature.
      request: PredictRequest to fill.

    Returns:
      Whether the request has rows, so that the answer must have rows, too.

    Raises:
      ServingError: The document has a wrong format, or does not fit the signature.
    """
    if not infos:
        name = document.get("signature_name") or "DEFAULT"
        raise invalid(f"Failed to get input map for signature: {name}")
    by_row = "instances" in document
    if by_row == ("inputs" in document):
        if by_row:
            raise invalid("expecting only one of 'inputs' or 'instances' keys to exist")
        raise invalid("Missing 'inputs' or 'instances' key")
    columns = _of_rows(document["instances"], infos) if by_row else _columns(document, infos)
    for name, values in columns.items():
        array = _array(name, values, infos[name].dtype)
        request.inputs[name].CopyFrom(to_proto(array))
    return by_row


def predict_answer(response: predict_pb2.PredictResponse, by_row: bool) -> dict[str, Any]:
    """Returns {"predictions": ...} for rows, {"outputs": ...} for columns.

    Raises:
      ServingError: There are no outputs, or outputs by row are scalars or differ in length.
    """
    if not response.outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    if by_row:
        _check_rows(response)
    outputs = {
        name: to_json(tf.make_ndarray(proto), name.endswith("_bytes"))
        for name, proto in sorted(response.outputs.items())
    }
    columns = list(outputs.values())
    if not by_row:
        return {"outputs": outputs if len(columns) > 1 else columns[0]}
    if len(columns) == 1:
        return {"predictions": columns[0]}
    names = list(outputs)
    return {
        "predictions": [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    }


def _check_rows(response: predict_pb2.PredictResponse) -> None:
    rows: int | None = None
    for name, proto in sorted(response.outputs.items()):
        if not proto.tensor_shape.dim:
            raise invalid(
                f"Tensor name: {name} has no shape information: it is a scalar. Ask with 'inputs' "
                "instead of 'instances'."
            )
        found = proto.tensor_shape.dim[0].size
        if rows not in (None, found):
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {found} expecting: {rows}. Ask "
                "with 'inputs' instead of 'instances'."
            )
        rows = found


def fill_examples(document: Mapping[str, Any], given: input_pb2.Input) -> None:
    """Sets the Input of a classification or regression request.

    Raises:
      ServingError: There are no examples, or a feature has an invalid type.
    """
    if "examples" not in document:
        raise invalid("key 'examples' is expected and was not found")
    examples = document["examples"]
    if not isinstance(examples, list) or not examples:
        raise invalid("Expecting 'examples' value to be a list with at least one element")
    if "context" in document:
        _fill_example(document["context"], given.example_list_with_context.context)
        listed = given.example_list_with_context.examples
    else:
        listed = given.example_list.examples
    for example in examples:
        _fill_example(example, listed.add())


def classify_answer(response: classification_pb2.ClassificationResponse) -> dict[str, Any]:
    """Returns {"results": ...} with a list of [label, score] for each example."""
    results = []
    for one in response.result.classifications:
        scores = to_json(np.array([found.score for found in one.classes], np.float32), False)
        labels = [found.label for found in one.classes]
        results.append([list(pair) for pair in zip(labels, scores, strict=True)])
    return {"results": results}


def regress_answer(response: regression_pb2.RegressionResponse) -> dict[str, Any]:
    """Returns {"results": ...} with a number for each example."""
    values = np.array([one.value for one in response.result.regressions], np.float32)
    return {"results": to_json(values, False)}


def _of_rows(rows: Any, infos: _Infos) -> dict[str, list[Any]]:
    if not isinstance(rows, list):
        raise invalid("Expecting 'instances' to be a list/array")
    if not rows:
        raise invalid("No values in 'instances' array")
    if not (isinstance(rows[0], dict) and not is_base64(rows[0])):
        if len(infos) > 1:
            raise invalid(
                "instances is a plain list, but expecting list of objects as multiple input "
                f"tensors are required: {', '.join(sorted(infos))}"
            )
        if any(isinstance(row, dict) and not is_base64(row) for row in rows):
            raise invalid("Expecting value/list but got object in the list of 'instances'")
        return dict.fromkeys(infos, rows)
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or set(row) != set(infos):
            raise invalid(
                f"Failed to process element: {number} of 'instances' list. JSON object: "
                f"{shortened(row)} keys must be equal to: {','.join(sorted(infos))}"
            )
    return {name: [row[name] for row in rows] for name in infos}


def _columns(document: Mapping[str, Any], infos: _Infos) -> dict[str, Any]:
    given = document["inputs"]
    if not isinstance(given, dict) or is_base64(given):
        if len(infos) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                f"are required: {', '.join(sorted(infos))}"
            )
        return dict.fromkeys(infos, given)
    missing = sorted(set(infos) - set(given))
    if missing:
        raise invalid(f"Missing named input: {missing[0]} in 'inputs' object.")
    return {name: given[name] for name in infos}


def _array(name: str, values: Any, kind: int) -> np.ndarray:
    shape: list[int] = []
    level = values
    while isinstance(level, list):
        shape.append(len(level))
        level = level[0] if level else None
    if len(shape) > _MAX_DIMENSIONS:
        raise invalid(f'input "{name}" has more than {_MAX_DIMENSIONS} dimensions')
    flat: list[Any] = []
    _flatten(name, values, shape, 0, flat)
    wanted = tf.as_dtype(kind)
    converted = [_value(name, value, wanted) for value in flat]
    if wanted == tf.string:
        return np.array(converted, dtype=object).reshape(shape)
    with np.errstate(over="ignore"):  # a number beyond the float range is infinite, as in C++
        wide = np.array(converted, dtype=np.int32 if wanted in _NARROW else wanted.as_numpy_dtype)
    return wide.astype(wanted.as_numpy_dtype, copy=False).reshape(shape)


def _flatten(name: str, values: Any, shape: list[int], level: int, flat: list[Any]) -> None:
    if not isinstance(values, list):
        if level != len(shape):
            raise invalid(f'input "{name}": {shortened(values)} found at incorrect level {level}')
        flat.append(values)
        return
    if level >= len(shape):
        raise invalid(f'input "{name}": Encountered list at unexpected level: {level}')
    if len(values) != shape[level]:
        raise invalid(
            f'input "{name}": Encountered list at unexpected size: {len(values)} at level: '
            f"{level} expected size: {shape[level]}"
        )
    for value in values:
        _flatten(name, value, shape, level + 1, flat)


def _value(name: str, value: Any, wanted: tf.DType) -> Any:
    """Returns a JSON value as the wanted type, or raises ServingError."""
    if wanted == tf.string:
        if isinstance(value, str):
            return to_bytes(value)
        if is_base64(value):
            return decode_base64(value)
    elif isinstance(value, bool):
        if wanted == tf.bool:
            return value
    elif wanted.is_integer:
        limits = _INT32 if wanted in _NARROW else wanted
        if isinstance(value, int) and int(limits.min) <= value <= int(limits.max):
            return value
    elif wanted.is_floating and isinstance(value, (int, float)):
        return float(value)
    raise invalid(
        f'input "{name}": JSON Value: {shortened(value)} Type: {json_type(value)} is not of '
        f"expected type: {_TYPE_NAMES.get(wanted, wanted.name)}"
    )


def _fill_example(given: Any, example: tf.train.Example) -> None:
    if not isinstance(given, dict):
        raise invalid(f"Example must be JSON object but got JSON {json_type(given)}")
    for name, content in given.items():
        if not is_utf8(name):
            raise invalid("the name of a feature is not valid UTF-8")
        feature = example.features.feature[name]
        for value in content if isinstance(content, list) else [content]:
            _add_value(name, value, feature)


def _add_value(name: str, value: Any, feature: tf.train.Feature) -> None:
    kind: str
    converted: Any
    if isinstance(value, (bool, int)):
        kind, converted = "int64_list", int(value)
        if converted >= 1 << 63:
            raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    elif isinstance(value, float):
        with np.errstate(over="ignore"):
            kind, converted = "float_list", float(np.float32(value))
    elif isinstance(value, str):
        kind, converted = "bytes_list", to_bytes(value)
    elif is_base64(value):
        kind, converted = "bytes_list", decode_base64(value)
    else:
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {json_type(value)}")
    if feature.WhichOneof("kind") not in (None, kind):
        expected = feature.WhichOneof("kind").removesuffix("_list")
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {expected}")
    getattr(feature, kind).value.append(converted)
