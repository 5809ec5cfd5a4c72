"""Answers that TensorFlow Serving gives, read in its source: each test names the place.

Files are those of github.com/tensorflow/serving, below tensorflow_serving/, as of July 2026.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)

from tests.serving.plain_model import NAME, save_plain
from tests.serving.running_server import Server, running

pytestmark = pytest.mark.component
Code = grpc.StatusCode
MODEL = f"/v1/models/{NAME}"


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """Runs a server with TensorFlow Serving's command line; its version is the folder 00042."""
    folder = tmp_path_factory.mktemp("plain")
    base: Path = folder / "models"
    base.mkdir()
    save_plain(base / "00042")
    flags = [f"--model_name={NAME}", f"--model_base_path={base}", "--enable_batching=true"]
    flags += ["--allow_version_labels_for_unavailable_models", "--rest_api_enable_cors_support"]
    with running(folder, *flags) as found:
        yield found


def predict(server: Server, signature: str, **values: Any) -> dict[str, np.ndarray]:
    """Returns the outputs of Predict by gRPC."""
    answer = server.prediction.Predict(request(signature, **values), timeout=20)
    return {name: tf.make_ndarray(proto) for name, proto in answer.outputs.items()}


def request(signature: str, **values: Any) -> predict_pb2.PredictRequest:
    made = predict_pb2.PredictRequest()
    made.model_spec.name, made.model_spec.signature_name = NAME, signature
    for name, value in values.items():
        made.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return made


def by_rest(server: Server, signature: str, **content: Any) -> tuple[int, Any]:
    body = {"signature_name": signature, **content}
    return server.curl(f"{MODEL}:predict", body=body)


def refused(call: Any, asked: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as raised:
        call(asked, timeout=20)
    return raised.value.code(), raised.value.details()


def test_a_version_folder_may_have_leading_zeros(server: Server) -> None:
    """sources/storage_path/file_system_storage_path_source.cc, ParseVersionNumber."""
    assert server.states(NAME) == {42: "AVAILABLE"}
    answer = server.prediction.Predict(request("double", x=[[1.0]]), timeout=20)
    assert answer.model_spec.version.value == 42


# Shapes: servables/tensorflow/predict_util.cc, PreProcessPrediction, compares none; util/
# json_tensor_test.cc, SingleUnnamedTensor, has a signature without shapes.


def test_rows_may_lack_a_dimension_of_the_signature(server: Server) -> None:
    assert by_rest(server, "double", instances=[1.0, 2.0, 5.0]) == (
        200,
        {"predictions": [2.0, 4.0, 10.0]},
    )


@pytest.mark.parametrize("x", [[1.0, 2.0], [[1.0, 2.0], [3.0, 4.0]], [[[1.0]]], 3.0, [], [1.0] * 9])
def test_the_graph_decides_which_shapes_it_computes(server: Server, x: Any) -> None:
    sent = np.array(x, np.float32)
    found = predict(server, "double", x=sent)["y"]
    assert found.shape == sent.shape
    assert np.array_equal(found, 2 * sent)


@pytest.mark.parametrize("x", [[1.0, 2.0, 5.0], [[1.0, 2.0]], 3.0])
def test_a_shape_that_the_graph_rejects_is_an_invalid_argument(server: Server, x: Any) -> None:
    code, text = refused(server.prediction.Predict, request("product", x=x))
    assert code == Code.INVALID_ARGUMENT
    assert "In[0]" in text
    assert "\n" not in text
    status, answer = by_rest(server, "product", inputs=x)
    assert (status, answer["error"]) == (400, text)


def test_rows_of_other_shapes_do_not_affect_concurrent_requests(server: Server) -> None:
    """batching/batching_session.cc keeps requests of other shapes apart."""
    shapes = [(3,), (3, 1), (1, 2), (2, 1), (2, 2, 1), (4, 1)]
    calls = []
    for number in range(120):
        x = np.full(shapes[number % len(shapes)], number, np.float32)
        signature = "double" if number % 4 else "product"
        calls.append((signature, x, server.prediction.Predict.future(request(signature, x=x))))
    for signature, x, call in calls:
        if signature == "double":
            found = tf.make_ndarray(call.result().outputs["y"])
            assert np.array_equal(found, 2 * x)
        elif x.ndim == 2 and x.shape[1] == 1:
            found = tf.make_ndarray(call.result().outputs["y"])
            assert np.array_equal(found, x @ np.array([[1.0, 10.0]], np.float32))
        elif x.ndim == 2 or x.ndim == 1:
            assert call.code() == Code.INVALID_ARGUMENT


# Method names: servables/tensorflow/util.cc, signature_method_check{false}; regressor_test.cc and
# classifier_test.cc, MethodNameCheck.


def on_examples(asked: Any, signature: str, count: int = 2) -> Any:
    asked.model_spec.name, asked.model_spec.signature_name = NAME, signature
    for _ in range(count):
        asked.input.example_list.examples.add().features.feature["a"].int64_list.value.append(1)
    return asked


def test_regress_and_classify_accept_a_predict_signature(server: Server) -> None:
    asked = on_examples(regression_pb2.RegressionRequest(), "regress")
    answer = server.prediction.Regress(asked, timeout=20)
    values = [one.value for one in answer.result.regressions]
    assert len(values) == 2
    asked = on_examples(classification_pb2.ClassificationRequest(), "classify")
    answer = server.prediction.Classify(asked, timeout=20)
    classes = [(one.label, one.score) for one in answer.result.classifications[0].classes]
    assert classes == [("", values[0]), ("", pytest.approx(0.2))]
    body = {"signature_name": "classify", "examples": [{"a": 1}]}
    assert server.curl(f"{MODEL}:classify", body=body) == (
        200,
        {"results": [[["", values[0]], ["", 0.2]]]},
    )


def test_multi_inference_accepts_predict_signatures(server: Server) -> None:
    """servables/tensorflow/multi_inference.cc, Infer."""
    asked = inference_pb2.MultiInferenceRequest()
    for kind in ("regress", "classify"):
        task = asked.tasks.add(method_name=f"tensorflow/serving/{kind}")
        task.model_spec.name, task.model_spec.signature_name = NAME, kind
    asked.input.example_list.examples.add()
    regression, classification = server.prediction.MultiInference(asked, timeout=20).results
    assert len(regression.regression_result.regressions) == 1
    assert len(classification.classification_result.classifications[0].classes) == 2
    asked.tasks[1].model_spec.signature_name = "none"
    assert refused(server.prediction.MultiInference, asked) == (
        Code.INVALID_ARGUMENT,
        "Requested signature not found in model graph: none",
    )
    _, text = server.curl("/monitoring/prometheus/metrics")
    assert f':tensorflow:serving:request_example_count_total{{model="{NAME}"}} 1' in text


def test_a_regression_must_return_float32(server: Server) -> None:
    """regressor.cc, PostProcessRegressionResult."""
    asked = on_examples(regression_pb2.RegressionRequest(), "regress_double")
    code, text = refused(server.prediction.Regress, asked)
    assert code == Code.INVALID_ARGUMENT
    assert text.startswith("Expected output Tensor of DT_FLOAT.")


# Scalars: util/json_tensor_test.cc, FromJsonSingleScalarTensor; json_tensor.cc,
# MakeRowFormatJsonFromTensors.


def test_scalar_strings_by_grpc(server: Server) -> None:
    found = predict(server, "greet", name=b"you\0")["greeting"]
    assert (found.shape, found.item()) == ((), b"hello you\0")
    outputs = predict(server, "count", words=[b"a", b"b"])
    assert {name: array.item() for name, array in outputs.items()} == {"n": 2, "first_bytes": b"a"}


def test_scalar_strings_by_rest(server: Server) -> None:
    assert by_rest(server, "greet", inputs="you") == (200, {"outputs": "hello you"})
    assert by_rest(server, "greet", inputs={"name": {"b64": "eW91"}})[1] == {"outputs": "hello you"}
    assert by_rest(server, "count", inputs=["a", "b"]) == (
        200,
        {"outputs": {"first_bytes": {"b64": "YQ=="}, "n": 2}},
    )
    status, answer = by_rest(server, "count", instances=["a", "b"])
    assert status == 400
    assert "Tensor name: first_bytes has no shape information" in answer["error"]
    assert by_rest(server, "greet", instances=["a"]) == (200, {"predictions": ["hello a"]})


# Numbers: util/json_tensor_test.cc, FloatTensorThatExceedsMaxReturnsInf, MixedInputForFloatTensor.


def test_integers_keep_their_values_within_their_type(server: Server) -> None:
    sent = {
        "int8": [-128, 127],
        "uint8": [0, 255],
        "int32": [-(1 << 31), (1 << 31) - 1],
        "int64": [-(1 << 63), (1 << 63) - 1],
        "uint64": [0, (1 << 64) - 1],
        "float64": [0.1, -1e300],
    }
    status, answer = by_rest(server, "numbers", inputs=sent)
    assert status == 200
    assert answer["outputs"] == {f"same_{name}": values for name, values in sent.items()}
    for name, beyond in (("int32", 1 << 31), ("int64", 1 << 63), ("uint64", -1), ("int8", 1 << 31)):
        status, answer = by_rest(server, "numbers", inputs={**sent, name: [beyond, 0]})
        assert status == 400
        assert f"Type: Number is not of expected type: {name}" in answer["error"]
    # json_tensor.cc, AddValueToTensor: an int8 is any int of C++, which is cut to size.
    _, answer = by_rest(server, "numbers", inputs={**sent, "uint8": [300, -1]})
    assert answer["outputs"]["same_uint8"] == [44, 255]


def test_floats_have_as_few_digits_as_they_need(server: Server) -> None:
    """util/json_tensor.cc, WriteDecimal; json_tensor_test.cc, SixDigitPrecision."""
    numbers = [0.1, 9e6, 1.5e-5, -0.0, 16777216.0, 1.5e-37, 3.4028235e38 / 2]
    command = json.dumps({"signature_name": "double", "instances": [[x] for x in numbers]})
    _, answer = server.curl(f"{MODEL}:predict", body=command)
    assert [one[0] for one in answer["predictions"]] == [
        0.2, 18000000.0, 3e-05, -0.0, 33554432.0, 3e-37, 3.40282347e38,
    ]  # fmt: skip
    assert str(answer["predictions"][3][0]) == "-0.0"


def test_cors_headers_are_sent_if_the_flag_is_set(server: Server) -> None:
    """model_servers/http_server.cc, ProcessRequest; http_rest_api_util.cc, AddCORSHeaders."""
    headers = {
        "Access-Control-Allow-Origin: *",
        "Access-Control-Allow-Methods: POST, GET",
        "Access-Control-Allow-Headers: Content-Type",
    }
    for options, path in (
        (["-X", "OPTIONS", "-H", "Origin: http://a"], f"{MODEL}:predict"),
        ([], MODEL),
        ([], "/v1/wrong"),
    ):
        _, text = server.curl(path, "-i", *options)
        assert headers <= set(text.splitlines())
    assert "Access-Control" not in server.curl("/health", "-i")[1]


def test_a_model_name_may_be_percent_encoded(server: Server) -> None:
    """model_servers/http_rest_api_util_test.cc, TestParseModelInfoForGet."""
    assert server.curl("/v1/models/pl%61in")[0] == 200
    assert server.curl("/v1/models/a%2Fb%3F") == (
        404,
        {"error": "Could not find any versions of model a/b?"},
    )
