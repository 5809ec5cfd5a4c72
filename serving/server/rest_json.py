"""JSON of TensorFlow Serving's REST API to requests, and responses to JSON.

The format is that of https://www.tensorflow.org/tfx/serving/api_rest: rows ("instances") or columns
("inputs"), {"b64": ...} for bytes, and outputs whose names end in _bytes as such. A request may
hold the literals NaN, Infinity and -Infinity; an answer never does.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
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
from serving.server.tensors import to_proto

_SHOWN = 100  # characters of a value in a message
_MOST_DIMENSIONS = 8
_Infos = Mapping[str, meta_graph_pb2.TensorInfo]


def parse(body: bytes) -> dict[str, Any]:
    """The object of a request.

    Raises:
      ServingError: it is none.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise invalid(f"JSON Parse error: {error}") from None
    if not isinstance(found, dict):
        raise invalid(f"JSON Value: {_shown(found)} Is not object")
    name = found.get("signature_name", "")
    if not isinstance(name, str) or not _is_text(name):
        raise invalid("'signature_name' key must be a string value.")
    return found


def fill_predict(document: Mapping[str, Any], infos: _Infos, request: Any) -> bool:
    """Sets the inputs of a PredictRequest.

    Args:
      document: the request's object.
      infos: the inputs of its signature.
      request: PredictRequest.

    Returns:
      Whether it came by rows, and is answered by rows.

    Raises:
      ServingError: it is not in the format, or does not fit the signature.
    """
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
    """{"predictions": ...} by row, {"outputs": ...} by column."""
    outputs = {
        name: _plain(tf.make_ndarray(proto), name.endswith("_bytes"))
        for name, proto in sorted(response.outputs.items())
    }
    if not by_row:
        return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()), [])}
    columns = list(outputs.values())
    if any(not isinstance(column, list) or len(column) != len(columns[0]) for column in columns):
        raise invalid("the outputs differ in their number of rows; ask with 'inputs' instead")
    if len(columns) == 1:
        return {"predictions": columns[0]}
    names = list(outputs)
    return {
        "predictions": [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    }


def fill_examples(document: Mapping[str, Any], given: input_pb2.Input) -> None:
    """Sets the Input of a classification or regression request.

    Raises:
      ServingError: there are no examples, or a feature is of no type that there is.
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
    return {
        "results": [
            [[found.label, _number(found.score)] for found in one.classes]
            for one in response.result.classifications
        ]
    }


def regress_answer(response: regression_pb2.RegressionResponse) -> dict[str, Any]:
    return {"results": [_number(one.value) for one in response.result.regressions]}


def dumps(answer: Mapping[str, Any]) -> str:
    """The text of an answer, which any parser of JSON can read: its numbers are finite."""
    return json.dumps(answer, allow_nan=False)


def _of_rows(rows: Any, infos: _Infos) -> dict[str, list[Any]]:
    if not isinstance(rows, list):
        raise invalid("Expecting 'instances' to be a list/array")
    if not rows:
        raise invalid("No values in 'instances' array")
    if not (isinstance(rows[0], dict) and not _is_base64(rows[0])):
        if len(infos) > 1:
            raise invalid(
                "instances is a plain list, but expecting list of objects as multiple input "
                f"tensors are required: {', '.join(sorted(infos))}"
            )
        if any(isinstance(row, dict) and not _is_base64(row) for row in rows):
            raise invalid("Expecting value/list but got object in the list of 'instances'")
        return dict.fromkeys(infos, rows)
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or set(row) != set(infos):
            raise invalid(
                f"Failed to process element: {number} of 'instances' list. JSON object: "
                f"{_shown(row)} keys must be equal to: {','.join(sorted(infos))}"
            )
    return {name: [row[name] for row in rows] for name in infos}


def _columns(document: Mapping[str, Any], infos: _Infos) -> dict[str, Any]:
    given = document["inputs"]
    if not isinstance(given, dict) or _is_base64(given):
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
    if len(shape) > _MOST_DIMENSIONS:
        raise invalid(f'input "{name}" has more than {_MOST_DIMENSIONS} dimensions')
    flat: list[Any] = []
    _flatten(name, values, shape, 0, flat)
    wanted = tf.as_dtype(kind)
    converted = [_value(name, value, wanted) for value in flat]
    dtype = object if wanted == tf.string else wanted.as_numpy_dtype
    return np.array(converted, dtype=dtype).reshape(shape)


def _flatten(name: str, values: Any, shape: list[int], level: int, flat: list[Any]) -> None:
    if not isinstance(values, list):
        if level != len(shape):
            raise invalid(f'input "{name}": {_shown(values)} found at incorrect level {level}')
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
    if wanted == tf.string:
        if isinstance(value, str):
            return value.encode("utf-8", "surrogatepass")
        if _is_base64(value):
            return _decoded(value)
    elif wanted == tf.bool:
        if isinstance(value, bool):
            return value
    elif wanted.is_integer:
        if isinstance(value, int) and not isinstance(value, bool):
            if int(wanted.min) <= value <= int(wanted.max):
                return value
            raise invalid(f'input "{name}": {_shown(value)} is too large for {wanted.name}')
    elif wanted.is_floating and isinstance(value, (int, float)) and not isinstance(value, bool):
        # Python compares an int of any size with its own floats, but numpy 2 does not.
        if abs(value) <= float(wanted.max) or (
            isinstance(value, float) and not math.isfinite(value)
        ):
            return value
        raise invalid(f'input "{name}": {_shown(value)} is too large for {wanted.name}')
    raise invalid(
        f'input "{name}": JSON Value: {_shown(value)} Type: {type(value).__name__} is not of '
        f"expected type: {wanted.name}"
    )


def _fill_example(given: Any, example: tf.train.Example) -> None:
    if not isinstance(given, dict):
        raise invalid(f"Example must be JSON object but got {_shown(given)}")
    for name, content in given.items():
        if not _is_text(name):
            raise invalid("a feature's name is no valid text")
        feature = example.features.feature[name]
        for value in content if isinstance(content, list) else [content]:
            _add_value(name, value, feature)


def _add_value(name: str, value: Any, feature: tf.train.Feature) -> None:
    kind: str
    converted: Any
    if isinstance(value, (bool, int)):
        kind, converted = "int64_list", int(value)
    elif isinstance(value, float):
        kind, converted = "float_list", value
    elif isinstance(value, str):
        kind, converted = "bytes_list", value.encode("utf-8", "surrogatepass")
    elif _is_base64(value):
        kind, converted = "bytes_list", _decoded(value)
    else:
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {_shown(value)}")
    if feature.WhichOneof("kind") not in (None, kind):
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {kind}")
    try:
        getattr(feature, kind).value.append(converted)
    except ValueError:
        raise invalid(f"Feature: {name} has a number out of range: {_shown(value)}") from None


def _is_text(value: str) -> bool:
    """Whether it can be written as UTF-8: half of a surrogate pair cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and [*value] == ["b64"] and isinstance(value["b64"], str)


def _decoded(value: Mapping[str, str]) -> bytes:
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError):
        raise invalid("Unable to base64 decode") from None


def _plain(array: np.ndarray, as_bytes: bool) -> Any:
    """Nested lists of what JSON has."""
    if array.dtype != object:
        return array.tolist()

    def text(value: bytes) -> Any:
        if as_bytes:
            return {"b64": base64.b64encode(value).decode("ascii")}
        return value.decode("utf-8", "replace")

    flat = np.empty(array.size, dtype=object)
    flat[:] = [text(value) for value in array.reshape(-1)]
    return flat.reshape(array.shape).tolist()


def _number(value: float) -> float:
    """A float of 32 bits with no more digits than it has."""
    return float(np.format_float_positional(np.float32(value), unique=True))


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        text = repr(type(value))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
