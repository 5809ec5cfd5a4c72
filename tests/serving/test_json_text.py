"""JSON in and out as TensorFlow Serving's util/json_tensor.cc has it, and json_tensor_test.cc."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import input_pb2, predict_pb2, regression_pb2

from serving.server import rest_json
from serving.server.errors import ServingError
from serving.server.json_text import decode_base64, dumps, parse, to_bytes, to_json

pytestmark = pytest.mark.unit


def refusal(call: Any, *given_: Any) -> str:
    with pytest.raises(ServingError) as raised:
        call(*given_)
    assert raised.value.http_status == 400
    return raised.value.message


def filled(body: str, **types: tf.DType) -> dict[str, np.ndarray]:
    """Returns the inputs of a signature in a body of :predict."""
    infos = {
        name: meta_graph_pb2.TensorInfo(dtype=kind.as_datatype_enum) for name, kind in types.items()
    }
    request = predict_pb2.PredictRequest()
    rest_json.fill_predict(parse(body.encode()), infos, request)
    return {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": 1} and what not', {"a": 1}),  # kParseStopWhenDoneFlag
        (b'\xef\xbb\xbf {"a": [Inf, -Inf, -Infinity]}', {"a": [math.inf, -math.inf, -math.inf]}),
        (b'{"a": "Inf -NaN \\" Inf", "b": Inf}', {"a": 'Inf -NaN " Inf', "b": math.inf}),
        (b'{"a": 18446744073709551615}', {"a": (1 << 64) - 1}),
        (b'{"a": 18446744073709551616}', {"a": float(1 << 64)}),
        (b'{"a": -9223372036854775809}', {"a": float(-(1 << 63) - 1)}),
        (b'{"a": 1e308}', {"a": 1e308}),
        (b'{"a": 0.00000000000000000001234567890123456789}', {"a": 1.234567890123456789e-20}),
        (b'{"a": "\\ud83d\\ude00", "b": "\\\\ud83d"}', {"a": "\U0001f600", "b": "\\ud83d"}),
    ],
)
def test_json_is_read_as_by_rapidjson(body: bytes, value: Any) -> None:
    """json_tensor.cc, ParseJson, with kParseNanAndInfFlag."""
    assert parse(body) == value


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "The document is empty"),
        (b"  ", "The document is empty"),
        (b'{"a": 1e309}', "Number too big to be stored in double"),
        (b'{"a": ' + b"9" * 5000 + b"}", "Number too big to be stored in double"),
        (b'{"a": "\\ud800"}', "surrogate pair"),
        (b'{"a": "\\udc80"}', "surrogate pair"),
        (b'{"a": "' + b'\\"' * 100_000, "JSON Parse error"),
        (b"[" * 100_000, "JSON Parse error"),
        (b"[1]", "Is not object"),
        (b'{"a": 1, "a": 2}', 'Duplicate key "a"'),  # TensorFlow Serving uses the first value
        (b'{"signature_name": 1}', "'signature_name' key must be a string value."),
    ],
)
def test_invalid_json_is_rejected(body: bytes, text: str) -> None:
    assert text in refusal(parse, body)


@given(st.binary(max_size=20))
def test_bytes_in_a_string_come_back_as_they_were_sent(content: bytes) -> None:
    """RapidJSON does not validate UTF-8."""
    body = b'{"a": "' + content.replace(b"\\", b"").replace(b'"', b"") + b'"}'
    wanted = body[7:-2]
    if any(byte < 0x20 for byte in wanted):
        return
    assert to_bytes(parse(body)["a"]) == wanted


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(json_values)
def test_any_json_is_read_as_python_reads_it(value: Any) -> None:
    try:
        body = json.dumps({"a": value}, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    found = parse(body)["a"]
    assert found == value or repr(found) == repr(value)  # NaN is not itself


@given(st.binary(max_size=40), st.booleans(), st.sampled_from(["", "\n", " \t"]))
def test_base64_with_or_without_padding(content: bytes, padded: bool, space: str) -> None:
    """absl/strings/escaping.h, Base64Unescape; json_tensor.cc, JsonDecodeBase64Object."""
    text = base64.b64encode(content).decode()
    text = text if padded else text.rstrip("=")
    assert decode_base64({"b64": space.join([text[:5], text[5:]])}) == content


@pytest.mark.parametrize("text", ["?", "A", "AB=", "AB===", "=", "ABCD=", "_-8=", "AB=C", "é"])
def test_invalid_base64_is_rejected(text: str) -> None:
    assert refusal(decode_base64, {"b64": text}) == "Unable to base64 decode"


@pytest.mark.parametrize("text", ["YQ..", "YQ=.", "YR=="])
def test_base64_that_only_absl_accepts(text: str) -> None:
    """A dot is valid padding, and excess bits are ignored."""
    assert decode_base64({"b64": text}) == b"a"


@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=0, max_dims=3),
        elements=st.floats(width=32),
    )
)
def test_a_float_survives_its_text(array: np.ndarray) -> None:
    """json_tensor.cc, WriteDecimal: what is read as a float again is the same."""
    array = np.where(np.isfinite(array), array, np.float32(-0.0))
    text = dumps({"a": to_json(array, False)})
    found = np.array(json.loads(text)["a"], np.float32)
    assert np.array_equal(np.signbit(found), np.signbit(array))
    assert np.array_equal(found, array)


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.array([0.2, 9e6, 3e-5, -0.0], np.float32), "[0.2, 9000000.0, 3e-05, -0.0]"),
        (np.array([0.1], np.float16), "[0.0999756]"),
        (np.array([0.1234567, 1 / 3], np.float32), "[0.123456702, 0.333333343]"),
        (np.array(0.1), "0.1"),
        (np.array([1, 2], np.int64), "[1, 2]"),
        (np.array(True), "true"),
        (np.array(b"a", object), '"a"'),
        (np.array([b"\xff"], object), '["\\ufffd"]'),
        (np.zeros((2, 0), np.float32), "[[], []]"),
        (np.zeros((0, 2), np.float32), "[]"),
    ],
)  # fmt: skip
def test_the_text_of_values(array: np.ndarray, text: str) -> None:
    assert dumps({"a": to_json(array, False)}) == f'{{"a": {text}}}'


def test_a_float_input_accepts_all_numbers() -> None:
    """MixedInputForFloatTensor, FloatTensorWithPrecisionLoss, ...ExceedsMax..., ...ExceedsMin..."""
    body = '{"instances": [1, 2.5, 1e300, -1e300, 1e-300, NaN, 36893488147419103232, 16777217]}'
    found = filled(body, x=tf.float32)["x"]
    assert found.dtype == np.float32
    wanted = [1, 2.5, np.inf, -np.inf, 0, np.nan, 2.0**65, 16777216]
    assert np.array_equal(found, np.array(wanted, np.float32), equal_nan=True)


def test_a_single_input_may_have_no_name() -> None:
    """SingleUnnamedTensor, SingleNamedTensorBase64, SingleUnnamedTensorColumnarFormat."""
    for body in (
        '{"instances": [[1], [2]]}',
        '{"instances": [{"x": [1]}, {"x": [2]}]}',
        '{"inputs": [[1], [2]]}',
        '{"inputs": {"x": [[1], [2]], "not wanted": 1}}',
    ):
        assert filled(body, x=tf.int32)["x"].tolist() == [[1], [2]]
    assert filled('{"inputs": 3}', x=tf.int32)["x"].shape == ()
    assert filled('{"instances": [{"b64": "aGk"}]}', x=tf.string)["x"].tolist() == [b"hi"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('{"instances": [1]}', "instances is a plain list, but expecting list of objects"),
        ('{"inputs": [1]}', "inputs is a plain value/list, but expecting an object"),
        ('{"inputs": {"x": [1]}}', "Missing named input: y in 'inputs' object."),
        ('{"instances": [{"x": 1}]}', "keys must be equal to: x,y"),
        ('{"instances": [{"x": 1, "y": 1, "z": 1}]}', "keys must be equal to: x,y"),
        ('{"instances": [{"x": 1, "y": 1}, 1]}', "keys must be equal to: x,y"),
        ('{"instances": [{"x": [1], "y": 1}, {"x": [1, 2], "y": 1}]}', "unexpected size: 2"),
        ('{"instances": [{"x": "1", "y": 1}]}', "Type: String is not of expected type: float"),
        ('{"instances": [{"x": null, "y": 1}]}', "Type: Null is not of expected type: float"),
        ('{"instances": [{"x": 1, "y": 1.0}]}', "Type: Number is not of expected type: int32"),
        ('{"instances": [{"x": 1, "y": true}]}', "Type: True is not of expected type: int32"),
        ('{"instances": [{"x": {}, "y": 1}]}', "Type: Object is not of expected type: float"),
    ],
)
def test_inputs_that_do_not_match_the_signature_are_rejected(body: str, text: str) -> None:
    """MultipleNamedTensorErrors, SingleUnnamedTensorErrors."""
    assert text in refusal(lambda: filled(body, x=tf.float32, y=tf.int32))


def test_a_signature_without_inputs_is_rejected() -> None:
    """json_tensor.cc, FillPredictRequestFromJson."""
    assert refusal(lambda: filled('{"instances": [1]}')).startswith("Failed to get input map")


def examples(body: str) -> input_pb2.Input:
    request = regression_pb2.RegressionRequest()
    rest_json.fill_examples(parse(body.encode()), request.input)
    return request.input


def test_features_of_examples() -> None:
    """ClassifyRegressRequestTest: RequestNoContext, RequestWithContextAndSignature."""
    body = (
        '{"examples": [{"i": [1, true], "f": [1.5, 1e300, Infinity], "s": ["é", {"b64": "gA"}], '
        '"large": 36893488147419103232, "none": []}]}'
    )
    (found,) = examples(body).example_list.examples
    feature = found.features.feature
    assert [*feature["i"].int64_list.value] == [1, 1]
    assert [*feature["f"].float_list.value] == [1.5, math.inf, math.inf]
    assert [*feature["s"].bytes_list.value] == ["é".encode(), b"\x80"]
    assert [*feature["large"].float_list.value] == [2.0**65]
    assert "none" in feature
    assert feature["none"].WhichOneof("kind") is None


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('{"examples": [{"a": [1, 1.5]}]}', "element type in feature: a expecting type: int64"),
        ('{"examples": [{"a": [[1]]}]}', "a has element with unexpected JSON type: Array"),
        ('{"examples": [{"a": null}]}', "a has element with unexpected JSON type: Null"),
        ('{"examples": [{"a": 9223372036854775808}]}', "a has uint64_t element"),
        ('{"examples": [1]}', "Example must be JSON object but got JSON Number"),
        ('{"examples": []}', "at least one element"),
        ('{"context": 1, "examples": [{}]}', "Example must be JSON object but got JSON Number"),
    ],
)  # fmt: skip
def test_invalid_examples_are_rejected(body: str, text: str) -> None:
    """ClassifyRegressRequestTest, JsonErrors."""
    assert text in refusal(examples, body)


def answer(by_row: bool, **outputs: np.ndarray) -> dict[str, Any]:
    response = predict_pb2.PredictResponse()
    for name, array in outputs.items():
        response.outputs[name].CopyFrom(tf.make_tensor_proto(array))
    return rest_json.predict_answer(response, by_row)


def test_outputs_by_row_and_by_column() -> None:
    """FromJsonMultipleNamedTensors, FromJsonSingleZeroBatchTensor, FromJsonSingleScalarTensor."""
    one, two = np.array([1, 2], np.int32), np.array([["a"], ["b"]])
    assert answer(True, x=one) == {"predictions": [1, 2]}
    assert answer(True, x=one, y=two) == {
        "predictions": [{"x": 1, "y": ["a"]}, {"x": 2, "y": ["b"]}]
    }
    assert answer(False, x=one, y=two) == {"outputs": {"x": [1, 2], "y": [["a"], ["b"]]}}
    assert answer(False, x=np.array(1.5, np.float32)) == {"outputs": 1.5}
    assert answer(True, x=one[:0], y=two[:0]) == {"predictions": []}


def test_outputs_without_rows_are_rejected() -> None:
    """FromJsonSingleTensorErrors, FromJsonMultipleNamedTensorsErrors."""
    one = np.array([1, 2], np.int32)
    assert "x has no shape information" in refusal(lambda: answer(True, x=one[0]))
    assert "y has inconsistent batch size: 1 expecting: 2" in refusal(
        lambda: answer(True, x=one, y=one[:1])
    )
    assert refusal(lambda: answer(True)) == "Cannot convert empty tensor map to JSON"
