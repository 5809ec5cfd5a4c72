"""TensorFlow Serving's gRPC API, called with its own stubs."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)

from tests.serving.running_server import Server
from tests.serving.scorer import NAME, example, request, tensors

pytestmark = pytest.mark.component
Code = grpc.StatusCode


def refused(call: Any, asked: Any, **options: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as raised:
        call(asked, **{"timeout": 20, **options})
    return raised.value.code(), raised.value.details()


def test_predict_from_examples(server: Server) -> None:
    answer = server.prediction.Predict(request(example(2.0), example(3.0, "unknown")), timeout=20)
    assert answer.model_spec.name == NAME
    assert answer.model_spec.version.value == 2  # the newest is the default
    assert answer.model_spec.signature_name == "serving_default"
    assert [*answer.outputs["score"].float_val] == [104.0, 6.0]
    assert tf.make_ndarray(answer.outputs["score"]).shape == (2, 1)


def test_predict_from_tensors_returns_the_requested_outputs(server: Server) -> None:
    asked = tensors(weight=[1.0, 2.0], kind=[b"x", b"better"])
    answer = server.prediction.Predict(asked, timeout=20)
    assert [*answer.outputs["kind_bytes"].string_val] == [b"x", b"better"]
    asked.output_filter.append("score")
    answer = server.prediction.Predict(asked, timeout=20)
    assert [*answer.outputs] == ["score"]
    assert [*answer.outputs["score"].float_val] == [2.0, 104.0]


def test_versions_by_number_and_label(server: Server) -> None:
    assert server.score(version=1) == 2.0
    assert server.score(label="stable") == 2.0
    assert server.score(label="canary") == 4.0


def test_a_request_may_exceed_a_batch(server: Server) -> None:
    many = [example(float(n), "x") for n in range(3000)]
    answer = server.prediction.Predict(request(*many), timeout=20)
    assert np.array_equal(answer.outputs["score"].float_val, 2.0 * np.arange(3000))


def test_a_request_may_have_no_rows(server: Server) -> None:
    answer = server.prediction.Predict(request(), timeout=20)
    assert tf.make_ndarray(answer.outputs["score"]).shape == (0, 1)


@pytest.mark.parametrize(
    ("asked", "code", "text"),
    [
        (request(example(), name="other"), Code.NOT_FOUND, "Latest(other)"),
        (request(example(), version=9), Code.NOT_FOUND, f"Specific({NAME}, 9)"),
        (
            request(example(), label="beta"),
            Code.INVALID_ARGUMENT,
            "Unrecognized servable version label: beta",
        ),
        (request(example(), name=""), Code.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        (
            request(example(), name="other", label="stable"),
            Code.INVALID_ARGUMENT,  # the label is looked up first: server_core.cc
            "Unrecognized servable version label: stable",
        ),
        (
            tensors("missing", x=[1.0]),
            Code.FAILED_PRECONDITION,
            'Serving signature key "missing" not found',
        ),
        (
            tensors("serving_default", rows=[b""]),
            Code.INVALID_ARGUMENT,
            "input tensor alias not found in signature: rows. Inputs expected to be in the set "
            "{examples}",
        ),
        (
            tensors(weight=[1.0]),
            Code.INVALID_ARGUMENT,
            "Missing but required: {kind}",
        ),
        (
            tensors(weight=[1.0], kind=[b"x"], more=[1.0]),
            Code.INVALID_ARGUMENT,
            "Sent extra: {more}",
        ),
        (
            tensors(weight=[b"1.0"], kind=[b"x"]),
            Code.INVALID_ARGUMENT,
            'input "weight" is string, but the signature expects float32',
        ),
        (
            tensors(weight=[1.0, 2.0], kind=[b"x", b"x", b"x"]),
            Code.INVALID_ARGUMENT,
            "Incompatible shapes",
        ),
        (request(b"no example"), Code.INVALID_ARGUMENT, "Could not parse example"),
        (
            request(example(kind="x") + b"\n\x0f\n\r\n\x06weight\x12\x03\n\x01x"),
            Code.INVALID_ARGUMENT,
            "weight",  # it is bytes: the feature is named
        ),
    ],
)  # fmt: skip
def test_errors_have_tensorflow_servings_code_and_text(
    server: Server, asked: Any, code: grpc.StatusCode, text: str
) -> None:
    found = refused(server.prediction.Predict, asked)
    assert found[0] == code
    assert text in found[1]


def test_a_missing_feature_is_named(server: Server) -> None:
    bare = tf.train.Example()
    bare.features.feature["weight"].float_list.value.append(1.0)
    code, text = refused(server.prediction.Predict, request(bare.SerializeToString()))
    assert code == Code.INVALID_ARGUMENT
    assert "Feature: kind" in text


def test_unknown_and_repeated_outputs_are_rejected(server: Server) -> None:
    asked = tensors(weight=[1.0], kind=[b"x"])
    asked.output_filter.append("other")
    code, text = refused(server.prediction.Predict, asked)
    assert code == Code.INVALID_ARGUMENT
    assert "expected to be in the set {kind_bytes,score}" in text
    asked.output_filter[:] = ["score", "score"]
    assert refused(server.prediction.Predict, asked)[1] == "duplicate output tensor alias: score"


def test_a_shape_far_beyond_its_content_is_rejected(server: Server) -> None:
    asked = tensors(weight=[1.0], kind=[b"x"])
    asked.inputs["weight"].tensor_shape.dim[0].size = 1 << 40
    code, text = refused(server.prediction.Predict, asked)
    assert code == Code.INVALID_ARGUMENT
    assert "elements" in text


def test_too_many_repeated_values_are_rejected(server: Server) -> None:
    asked = tensors(weight=[1.0], kind=[b"x"])
    for name in ("weight", "kind"):
        asked.inputs[name].ClearField("tensor_content")
        asked.inputs[name].tensor_shape.dim[0].size = 3
    asked.inputs["weight"].float_val[:] = [1.0, 2.0]
    answer = server.prediction.Predict(asked, timeout=20)
    assert [*answer.outputs["score"].float_val] == [2.0, 4.0, 4.0]
    asked.inputs["kind"].tensor_shape.dim[0].size = 1 << 22
    code, text = refused(server.prediction.Predict, asked)
    assert code == Code.INVALID_ARGUMENT
    assert "repeated" in text


def test_a_bad_request_does_not_affect_others_in_its_batch(server: Server) -> None:
    good, bad = request(*[example()] * 50), request(*[example()] * 50, b"no example")
    calls = [(n % 4 == 0, server.prediction.Predict.future(bad if n % 4 == 0 else good, timeout=20))
             for n in range(80)]  # fmt: skip
    for is_bad, call in calls:
        assert (call.code() == Code.INVALID_ARGUMENT) if is_bad else (call.code() == Code.OK)


def test_regress_merges_the_context_into_each_example(server: Server) -> None:
    asked = regression_pb2.RegressionRequest()
    asked.model_spec.name, asked.model_spec.signature_name = NAME, "regress"
    listed = asked.input.example_list_with_context
    listed.context.MergeFromString(example(5.0, "good"))
    listed.examples.add()
    listed.examples.add().features.feature["weight"].float_list.value.append(7.0)
    answer = server.prediction.Regress(asked, timeout=20)
    assert [one.value for one in answer.result.regressions] == [110.0, 114.0]
    assert answer.model_spec.version.value == 2


def test_classify(server: Server) -> None:
    asked = classification_pb2.ClassificationRequest()
    asked.model_spec.name, asked.model_spec.signature_name = NAME, "classify"
    asked.input.example_list.examples.add().MergeFromString(example(1.0, "x"))
    answer = server.prediction.Classify(asked, timeout=20)
    (found,) = answer.result.classifications
    assert [(one.label, one.score) for one in found.classes] == [("yes", 2.0), ("no", -2.0)]


def test_multi_inference_runs_several_signatures(server: Server) -> None:
    asked = inference_pb2.MultiInferenceRequest()
    for kind in ("regress", "classify"):
        task = asked.tasks.add(method_name=f"tensorflow/serving/{kind}")
        task.model_spec.name, task.model_spec.signature_name = NAME, kind
    asked.input.example_list.examples.add().MergeFromString(example(1.0, "x"))
    regression, classification = server.prediction.MultiInference(asked, timeout=20).results
    assert regression.regression_result.regressions[0].value == 2.0
    assert classification.classification_result.classifications[0].classes[1].label == "no"
    asked.tasks[1].model_spec.signature_name = "regress"
    code, text = refused(server.prediction.MultiInference, asked)
    assert (code, text) == (Code.INVALID_ARGUMENT, "Duplicate evaluation of signature: regress")


def test_a_signature_unfit_for_the_method_is_rejected(server: Server) -> None:
    """regressor.cc, PreProcessRegression; util.cc, InputToSerializedExampleTensor."""
    asked = regression_pb2.RegressionRequest()
    asked.model_spec.name = NAME
    asked.input.example_list.examples.add().MergeFromString(example())
    code, text = refused(server.prediction.Regress, asked)
    assert code == Code.INVALID_ARGUMENT
    assert "No regression inputs found in SignatureDef" in text
    asked.model_spec.signature_name = "missing"
    assert refused(server.prediction.Regress, asked) == (
        Code.INVALID_ARGUMENT,
        "No signature was found with the name: missing",
    )
    asked.model_spec.signature_name = "regress"
    asked.input.Clear()
    assert refused(server.prediction.Regress, asked) == (Code.INVALID_ARGUMENT, "Input is empty.")


def test_a_request_without_a_model_is_rejected(server: Server) -> None:
    """predict_impl.cc, classification_service.cc, get_model_metadata_impl.cc: Missing ModelSpec."""
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    for call, asked in (
        (server.prediction.Predict, predict_pb2.PredictRequest()),
        (server.prediction.Classify, classification_pb2.ClassificationRequest()),
        (server.prediction.Regress, regression_pb2.RegressionRequest()),
        (server.prediction.GetModelMetadata, metadata),
        (server.model.GetModelStatus, get_model_status_pb2.GetModelStatusRequest()),
    ):
        assert refused(call, asked) == (Code.INVALID_ARGUMENT, "Missing ModelSpec")
    # multi_inference_helper.cc, GetModelSpecFromRequest: an empty one is taken.
    assert refused(server.prediction.MultiInference, inference_pb2.MultiInferenceRequest()) == (
        Code.INVALID_ARGUMENT,
        "ModelSpec has no name specified.",
    )


def test_metadata(server: Server) -> None:
    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    asked.model_spec.name = NAME
    answer = server.prediction.GetModelMetadata(asked, timeout=20)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    assert sorted(signatures.signature_def) == [
        "classify", "guarded", "regress", "serving_default", "slow", "tensors",
    ]  # fmt: skip
    assert signatures.signature_def["tensors"].inputs["weight"].dtype == tf.float32
    asked.metadata_field[:] = ["other"]
    assert refused(server.prediction.GetModelMetadata, asked)[0] == Code.INVALID_ARGUMENT


def test_status(server: Server) -> None:
    assert server.states() == {2: "AVAILABLE", 1: "AVAILABLE"}
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name, asked.model_spec.version.value = NAME, 7
    code, text = refused(server.model.GetModelStatus, asked)
    assert code == Code.NOT_FOUND
    assert text == f"Could not find version 7 of model {NAME}"


@pytest.mark.parametrize("label", ["stable", "no such label"])
def test_status_by_a_label_lists_all_versions(server: Server, label: str) -> None:
    """get_model_status_impl.cc, GetModelStatusWithModelSpec, looks at version only."""
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name, asked.model_spec.version_label = NAME, label
    found = server.model.GetModelStatus(asked, timeout=20).model_version_status
    assert [one.version for one in found] == [2, 1]


def test_an_invalid_message_is_rejected(server: Server) -> None:
    predict = server.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    code, _ = refused(predict, b"\xff\xff\xff")
    assert code in (Code.INTERNAL, Code.INVALID_ARGUMENT)
    assert server.score() == 4.0
    assert "Traceback" not in server.log.read_text("utf-8")  # only the client gets the error
