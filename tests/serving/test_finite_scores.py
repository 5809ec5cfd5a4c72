"""A score is finite, or the error names the example: by gRPC, by REST and in a ranking."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, inference_pb2, regression_pb2

from applications.ctr.ranking import PageRanker, rank
from serving.client.client import ScoringClient
from serving.request_log.reader import read_predictions
from serving.server.errors import Code, ServingError
from serving.server.json_text import dumps
from serving.server.tensors import check_finite
from tests.serving.running_server import Server, flags_of, running, wait_for
from tests.serving.scorer import NAME, example, request, tensors

pytestmark = pytest.mark.component
MODEL = f"/v1/models/{NAME}"
NAN, INF = float("nan"), float("inf")
NOT_FINITE = [(NAN, "nan"), (INF, "inf"), (-INF, "-inf")]
FINITE = [-5.0, 0.0, 1e38, -1e38]


def refused(call: Any, asked: Any) -> str:
    with pytest.raises(grpc.RpcError) as raised:
        call(asked, timeout=20)
    assert raised.value.code() == Code.INVALID_ARGUMENT
    return str(raised.value.details())


def on_examples(kind: Any, signature: str, *weights: float) -> Any:
    """Returns a request for Classify or Regress."""
    asked = kind()
    asked.model_spec.name, asked.model_spec.signature_name = NAME, signature
    for weight in weights:
        asked.input.example_list.examples.add().MergeFromString(example(weight, "x"))
    return asked


@pytest.mark.parametrize(("value", "shown"), NOT_FINITE)
def test_a_graph_that_checks_its_features_is_quoted_by_grpc(
    server: Server, value: float, shown: str
) -> None:
    text = refused(server.prediction.Predict, tensors("guarded", weight=[1.0, value, 3.0]))
    assert f"example 1: weight must be a finite number. Received: {shown}. " in text


@pytest.mark.parametrize(("value", "shown"), NOT_FINITE)
def test_a_graph_that_checks_its_features_is_quoted_by_rest(
    server: Server, value: float, shown: str
) -> None:
    body = {"signature_name": "guarded", "instances": [1.0, value, 3.0]}
    assert json.dumps(body).count("NaN") + json.dumps(body).count("Infinity") == 1
    status, answer = server.curl(f"{MODEL}:predict", body=body)
    assert status == 400
    assert f"example 1: weight must be a finite number. Received: {shown}. " in answer["error"]


@pytest.mark.parametrize("value", FINITE)
def test_a_graph_that_checks_its_features_scores_what_is_finite(
    server: Server, value: float
) -> None:
    answer = server.prediction.Predict(tensors("guarded", weight=[value]), timeout=20)
    assert [*answer.outputs["score"].float_val] == pytest.approx([2 * value])
    body = {"signature_name": "guarded", "instances": [value]}
    assert server.curl(f"{MODEL}:predict", body=body) == (
        200,
        {"predictions": pytest.approx([2 * value])},
    )


def test_a_graph_that_checks_its_features_scores_no_examples(server: Server) -> None:
    empty = np.zeros(0, np.float32)
    answer = server.prediction.Predict(tensors("guarded", weight=empty), timeout=20)
    assert tf.make_ndarray(answer.outputs["score"]).shape == (0,)


def test_a_number_beyond_float64_is_invalid_json(server: Server) -> None:
    """json_tensor.cc, ParseJson: RapidJSON's kParseErrorNumberTooBig."""
    body = '{"signature_name": "guarded", "instances": [1e999]}'
    status, answer = server.curl(f"{MODEL}:predict", body=body)
    assert status == 400
    assert "Number too big to be stored in double" in answer["error"]


def test_the_index_refers_to_the_callers_own_request(server: Server) -> None:
    """A batch of concurrent requests is computed one by one if one of them is wrong."""
    asked = []
    for number in range(80):
        weights = np.arange(50, dtype=np.float32)
        if number % 4 == 0:
            weights[number % 50] = NAN
        asked.append((number, tensors("guarded", weight=weights)))
    calls = [(n, server.prediction.Predict.future(one, timeout=20)) for n, one in asked]
    for number, call in calls:
        if number % 4:
            assert [*call.result().outputs["score"].float_val] == [2.0 * n for n in range(50)]
        else:
            assert call.code() == Code.INVALID_ARGUMENT
            assert f"example {number % 50}: weight" in call.details()


def test_the_index_continues_across_the_batches_of_a_request(server: Server) -> None:
    weights = np.zeros(3000, np.float32)
    weights[2500] = NAN
    text = refused(server.prediction.Predict, tensors("guarded", weight=weights))
    assert "example 2500: weight" in text


@pytest.mark.parametrize(("value", "shown"), NOT_FINITE)
def test_predict_rejects_an_output_that_is_not_finite(
    server: Server, value: float, shown: str
) -> None:
    asked = request(example(1.0, "x"), example(value, "x"))
    text = refused(server.prediction.Predict, asked)
    wanted = f'example 1: output "score" must be a finite number. Received: {shown}. '
    assert text.startswith(wanted)
    body = {"signature_name": "tensors", "inputs": {"weight": [0, value], "kind": ["x", "x"]}}
    status, answer = server.curl(f"{MODEL}:predict", body=body)
    assert (status, answer["error"][: len(wanted)]) == (400, wanted)


def test_an_output_that_is_not_requested_is_not_checked(server: Server) -> None:
    asked = tensors(weight=[NAN], kind=[b"x"])
    asked.output_filter.append("kind_bytes")
    answer = server.prediction.Predict(asked, timeout=20)
    assert [*answer.outputs["kind_bytes"].string_val] == [b"x"]


@pytest.mark.parametrize(("value", "shown"), NOT_FINITE)
def test_regress_rejects_an_output_that_is_not_finite(
    server: Server, value: float, shown: str
) -> None:
    asked = on_examples(regression_pb2.RegressionRequest, "regress", 1.0, value)
    wanted = f'example 1: output "outputs" must be a finite number. Received: {shown}. '
    assert refused(server.prediction.Regress, asked).startswith(wanted)
    examples = [{"weight": 1.0, "kind": "x"}, {"weight": value, "kind": "x"}]
    body = {"signature_name": "regress", "examples": examples}
    status, answer = server.curl(f"{MODEL}:regress", body=body)
    assert (status, answer["error"][: len(wanted)]) == (400, wanted)


def test_classify_rejects_an_output_that_is_not_finite(server: Server) -> None:
    asked = on_examples(classification_pb2.ClassificationRequest, "classify", 1.0, NAN)
    wanted = 'example 1: output "scores" must be a finite number. Received: nan. '
    assert refused(server.prediction.Classify, asked).startswith(wanted)
    body = {"signature_name": "classify", "examples": [{"weight": NAN, "kind": "x"}]}
    status, answer = server.curl(f"{MODEL}:classify", body=body)
    assert status == 400
    assert 'example 0: output "scores"' in answer["error"]


def test_multi_inference_rejects_an_output_that_is_not_finite(server: Server) -> None:
    asked = inference_pb2.MultiInferenceRequest()
    task = asked.tasks.add(method_name=tf.saved_model.REGRESS_METHOD_NAME)
    task.model_spec.name, task.model_spec.signature_name = NAME, "regress"
    asked.input.example_list.examples.add().MergeFromString(example(NAN, "x"))
    assert 'output "outputs"' in refused(server.prediction.MultiInference, asked)


@pytest.mark.parametrize("value", FINITE)
def test_a_finite_score_of_a_graph_without_check_is_returned(server: Server, value: float) -> None:
    assert server.score(value) == pytest.approx(2 * value)


def test_a_feature_without_a_value_is_named(server: Server) -> None:
    bare = tf.train.Example()
    bare.features.feature["weight"].float_list.SetInParent()
    bare.features.feature["kind"].bytes_list.value.append(b"x")
    asked = request(bare.SerializeToString())
    assert "weight" in refused(server.prediction.Predict, asked)
    body = {"signature_name": "regress", "examples": [{"weight": [], "kind": "x"}]}
    status, answer = server.curl(f"{MODEL}:regress", body=body)
    assert status == 400
    assert "weight" in answer["error"]


def test_a_rejected_request_does_not_affect_others(server: Server) -> None:
    good, bad = request(example(1.0, "x")), request(example(1.0, "x"), example(NAN, "x"))
    calls = [
        (number % 3 == 0, server.prediction.Predict.future(bad if number % 3 == 0 else good))
        for number in range(30)
    ]
    for is_bad, call in calls:
        if is_bad:
            assert "example 1:" in call.details()
        else:
            assert [*call.result().outputs["score"].float_val] == [2.0]


def test_a_ranking_client_gets_the_candidate_and_the_feature(server: Server) -> None:
    candidates = [example(1.0, "x"), example(NAN, "x")]
    with ScoringClient(f"127.0.0.1:{server.grpc_port}", NAME, timeout_s=20) as client:
        ranker = PageRanker(client, 2, 0.0, random.Random(1))
        for ask in (
            lambda: client.score("u1", candidates),
            lambda: ranker.page("u1", ["i1", "i2"], lambda items, positions: candidates, {}),
        ):
            with pytest.raises(grpc.RpcError, match=r'example 1: output "score".*Received: nan'):
                ask()


@pytest.mark.parametrize(("score", "shown"), NOT_FINITE)
def test_a_ranking_rejects_a_score_that_is_not_finite(score: float, shown: str) -> None:
    """TensorFlow Serving returns any output of a model without a check."""
    wanted = f"the score of example 2 must be a finite number. Received: {shown}. "
    with pytest.raises(ValueError, match=wanted):
        rank([0.1, 0.2, score], 2, 0.0, random.Random(1))


@pytest.mark.parametrize(
    "output",
    [
        np.array([b"x"], object),
        np.array([[1, 2]]),
        np.array([True]),
        np.zeros((0, 3), np.float32),
        np.full((2, 2), 3e38, np.float32),
        np.full(2, 1e300),
        np.full(2, 65504, np.float16),
        np.ones((), np.float32),
    ],
)
def test_an_output_of_finite_values_is_accepted(output: np.ndarray) -> None:
    check_finite("y", output)


@pytest.mark.parametrize("kind", [tf.float16, tf.bfloat16, tf.float32, tf.float64])
def test_an_output_of_any_shape_and_float_type_is_checked(kind: tf.DType) -> None:
    deep = np.zeros((3, 2, 2), kind.as_numpy_dtype)
    deep[2, 1, 0] = -INF
    for output, example_named in ((deep, "example 2: "), (deep[2, 1, 0].reshape(()), "")):
        with pytest.raises(ServingError) as raised:
            check_finite("y", output)
        wanted = f'{example_named}output "y" must be a finite number. Received: -inf.'
        assert raised.value.message.startswith(wanted)
        assert raised.value.code == Code.INVALID_ARGUMENT


def test_an_answer_is_standard_json() -> None:
    with pytest.raises(ValueError, match="JSON"):
        dumps({"predictions": [NAN]})


def test_a_rejected_request_is_not_logged(scorers: dict[int, Path], tmp_path: Path) -> None:
    base, log = tmp_path / NAME, tmp_path / "requests"
    base.mkdir()
    (base / "1").symlink_to(scorers[1])
    with running(tmp_path, *flags_of(base), "--request-log", str(log)) as server:
        refused(server.prediction.Predict, request(example(NAN, "x")))
        assert server.score(2.0) == 2.0
        wait_for(lambda: [*log.glob(".open-*.json")])
        server.stop()
    assert [one.scores for one in read_predictions(log)] == [(2.0,)]
