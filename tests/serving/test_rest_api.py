"""TensorFlow Serving's REST API, called with curl."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.serving.running_server import Server
from tests.serving.scorer import NAME, example

pytestmark = pytest.mark.component
MODEL = f"/v1/models/{NAME}"


def b64(content: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(content).decode()}


def test_predict_by_rows_and_by_columns(server: Server) -> None:
    rows = {"instances": [b64(example(2.0)), b64(example(3.0, "x"))]}
    assert server.curl(f"{MODEL}:predict", body=rows) == (200, {"predictions": [[104.0], [6.0]]})
    columns = {"inputs": {"examples": [b64(example(3.0, "x"))]}}
    assert server.curl(f"{MODEL}:predict", body=columns) == (200, {"outputs": [[6.0]]})


def test_several_inputs_and_outputs(server: Server) -> None:
    rows = {"signature_name": "tensors", "instances": [{"weight": 1.5, "kind": "good"}]}
    assert server.curl(f"{MODEL}:predict", body=rows) == (
        200,
        {"predictions": [{"kind_bytes": b64(b"good"), "score": 103.0}]},
    )
    columns = {"signature_name": "tensors", "inputs": {"weight": [1, 2], "kind": ["é", b64(b"x")]}}
    status, answer = server.curl(f"{MODEL}:predict", body=columns)
    assert status == 200
    assert answer["outputs"]["score"] == [2.0, 4.0]
    assert answer["outputs"]["kind_bytes"] == [b64("é".encode()), b64(b"x")]


def test_a_compressed_body(server: Server) -> None:
    """util/net_http/server/internal/evhttp_request.cc, NeedUncompressGzipContent."""
    body = gzip.compress(json.dumps({"instances": [b64(example(3.0, "x"))]}).encode())
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)
    connection.request("POST", f"{MODEL}:predict", body, {"Content-Encoding": "gzip"})
    assert json.loads(connection.getresponse().read()) == {"predictions": [[6.0]]}


def test_versions_and_labels(server: Server) -> None:
    body = {"instances": [b64(example(1.0, "x"))]}
    for path, expected in (("versions/1", 1.0), ("labels/stable", 1.0), ("labels/canary", 2.0)):
        assert server.curl(f"{MODEL}/{path}:predict", body=body)[1]["predictions"] == [[expected]]


def test_classify_and_regress(server: Server) -> None:
    body = {
        "signature_name": "regress",
        "context": {"kind": "good"},
        "examples": [{"weight": 1.0}, {"weight": [2.5], "kind": "x"}],
    }
    assert server.curl(f"{MODEL}:regress", body=body) == (200, {"results": [102.0, 5.0]})
    body["signature_name"] = "classify"
    assert server.curl(f"{MODEL}:classify", body=body)[1]["results"][1] == [
        ["yes", 5.0],
        ["no", -5.0],
    ]


def test_status_and_metadata(server: Server) -> None:
    status, answer = server.curl(MODEL)
    assert status == 200
    assert answer["model_version_status"][0] == {
        "version": "2",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    assert len(server.curl(f"{MODEL}/versions/1")[1]["model_version_status"]) == 1
    # get_model_status_impl.cc ignores labels.
    assert server.curl(f"{MODEL}/labels/stable")[1] == answer
    assert server.curl("/v1/models") == (400, {"error": "Missing model name in request."})
    status, answer = server.curl(f"{MODEL}/labels/stable/metadata")
    assert status == 200
    assert answer["model_spec"]["version"] == "1"
    signature = answer["metadata"]["signature_def"]["signature_def"]["tensors"]
    assert signature["inputs"]["weight"]["dtype"] == "DT_FLOAT"


def test_metadata_prints_every_field(server: Server) -> None:
    """http_rest_api_util.cc, ToJsonString: always_print_fields_with_no_presence."""
    _, answer = server.curl(f"{MODEL}/metadata")
    assert answer["model_spec"] == {"name": NAME, "signature_name": "", "version": "2"}
    signature = answer["metadata"]["signature_def"]["signature_def"]["tensors"]
    assert signature["inputs"]["weight"] == {
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
        "name": signature["inputs"]["weight"]["name"],
    }
    assert signature["defaults"] == {}
    assert set(signature) == {"inputs", "outputs", "method_name", "defaults"}


def test_answers_have_the_expected_json(server: Server) -> None:
    _, text = server.curl(MODEL, "-i")
    assert "\nContent-Type: application/json\n" in text


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("/v1/models/other:predict", {"instances": [1]}, 404, "Servable not found"),
        (f"{MODEL}/versions/9:predict", {"instances": [1]}, 404, f"Specific({NAME}, 9)"),
        (f"{MODEL}/labels/beta:predict", {"instances": [1]}, 400, "version label: beta"),
        (f"{MODEL}/versions/{1 << 64}:predict", {"instances": [1]}, 400, "numeric"),
        (f"{MODEL}:explain", {"instances": [1]}, 400, f"Malformed request: POST {MODEL}:explain"),
        (f"{MODEL}:predict", "", 400, "The document is empty"),
        (f"{MODEL}:predict", "{", 400, "JSON Parse error"),
        (f"{MODEL}:predict", "[" * 100_000, 400, "JSON Parse error"),
        (f"{MODEL}:predict", "[]", 400, "Is not object"),
        (f"{MODEL}:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        (f"{MODEL}:predict", {"instances": [1], "inputs": 1}, 400, "only one of"),
        (f"{MODEL}:predict", {"instances": []}, 400, "No values in 'instances'"),
        (f"{MODEL}:predict", {"instances": {}}, 400, "to be a list"),
        (f"{MODEL}:predict", {"instances": [1]}, 400, "not of expected type: string"),
        (f"{MODEL}:predict", {"instances": [{"b64": "?"}]}, 400, "base64"),
        (f"{MODEL}:predict", {"instances": ["x", ["y"]]}, 400, "unexpected level"),
        (f"{MODEL}:predict", {"signature_name": 1, "instances": [1]}, 400, "must be a string"),
        (
            f"{MODEL}:predict",
            {"signature_name": "no", "instances": [1]},
            400,
            'signature name: "no"',
        ),
        (
            f"{MODEL}:predict",
            {"signature_name": "tensors", "instances": [{"weight": 1.0}]},
            400,
            "keys must be equal to: kind,weight",
        ),
        (
            f"{MODEL}:predict",  # it is infinite as a float: json_tensor_test.cc, ExceedsMax
            {"signature_name": "guarded", "inputs": {"weight": [1e300]}},
            400,
            "weight must be a finite number. Received: inf",
        ),
        (
            f"{MODEL}:predict",
            {"signature_name": "tensors", "inputs": {"weight": [True], "kind": ["x"]}},
            400,
            "Type: True is not of expected type: float",
        ),
        (f"{MODEL}:predict", '{"instances": ' + "[" * 40 + "]" * 40 + "}", 400, "dimensions"),
        (
            f"{MODEL}:predict",
            '{"signature_name": "tensors", "inputs": {"weight": [1'
            + "0" * 400
            + '], "kind": ["x"]}}',
            400,
            "JSON Parse error: Number too big to be stored in double.",
        ),
        (
            f"{MODEL}:predict",
            r'{"signature_name": "\ud800", "instances": [1]}',
            400,
            "surrogate pair in string is invalid",
        ),
        (f"{MODEL}:regress", r'{"examples": [{"\ud800": 1}]}', 400, "surrogate pair"),
        (f"{MODEL}/versions/{'1' * 5000}:predict", {"instances": [1]}, 400, "to numeric"),
        (f"{MODEL}:regress", {"examples": [{}]}, 400, "No regression inputs found"),
        (f"{MODEL}:regress", {"examples": 1}, 400, "to be a list"),
        (f"{MODEL}:regress", {}, 400, "'examples' is expected"),
        (
            f"{MODEL}:regress",
            {"signature_name": "regress", "examples": [{"weight": "x", "kind": "y"}]},
            400,
            "weight",
        ),
        (
            f"{MODEL}:regress",
            {"signature_name": "regress", "examples": [{"weight": [1, "x"]}]},
            400,
            "Unexpected element type in feature: weight",
        ),
        (
            f"{MODEL}:regress",
            {"signature_name": "regress", "examples": [{"weight": 1 << 63}]},
            400,
            "weight has uint64_t element. Only int64_t is supported.",
        ),
    ],
)
def test_an_error_names_the_problem(
    server: Server, path: str, body: Any, status: int, text: str
) -> None:
    found, answer = server.curl(path, body=body)
    assert found == status
    assert text in answer["error"]


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ([], f"{MODEL}:predict"),
        (["-X", "PUT"], f"{MODEL}:predict"),
        (["-X", "DELETE"], MODEL),
        (["-X", "POST"], MODEL),
        ([], f"{MODEL}/"),
        ([], "/v1/"),
        ([], "/v1/models/a/b"),
        (["-X", "POST"], f"{MODEL}:predict?x=1"),
        (["-X", "POST"], f"{MODEL}:PREDICT"),
    ],
)
def test_a_wrong_method_or_path_is_malformed(server: Server, options: list[str], path: str) -> None:
    """http_rest_api_handler.cc, ProcessRequest: the query belongs to the path."""
    method = options[1] if options else "GET"
    assert server.curl(path, *options) == (400, {"error": f"Malformed request: {method} {path}"})


def test_a_path_outside_of_the_api_is_not_found(server: Server) -> None:
    """http_server.cc, RestApiRequestDispatcher: only /v1/ is dispatched."""
    assert server.curl("/v2/models")[0] == 404
    assert server.curl("/monitoring/prometheus/metrics?x=1")[0] == 400  # ProcessPrometheusRequest


def test_head_is_a_malformed_request(server: Server) -> None:
    status, _ = server.curl(MODEL, "-I")
    assert status == 400


def test_a_cors_preflight_is_answered(server: Server) -> None:
    """http_server.cc, ProcessRequest; the headers are there by --rest_api_enable_cors_support."""
    asked = ["-X", "OPTIONS", "-i"]
    status, text = server.curl(f"{MODEL}:predict", *asked, "-H", "Origin: https://a.example")
    assert status == 200
    assert "access-control" not in text.lower()
    assert server.curl(f"{MODEL}:predict", *asked)[0] == 400


def test_metrics_for_prometheus(server: Server) -> None:
    server.curl(f"{MODEL}:predict", body={"instances": [b64(example())]})
    server.curl("/v1/models/made-up-name:predict", body={"instances": ["x"]})
    _, text = server.curl("/monitoring/prometheus/metrics")
    assert f'serving_requests_total{{code="OK",method="predict",model="{NAME}"}}' in text
    assert f'serving_version{{label="stable",model="{NAME}",version="1"}} 1.0' in text
    assert "serving_request_seconds_bucket" in text
    assert "made-up-name" not in text


def test_metrics_under_the_names_of_tensorflow_serving(server: Server) -> None:
    """servables/tensorflow/util.cc and prometheus_exporter.cc, as read in their tests."""
    server.curl(f"{MODEL}:predict", body={"instances": [b64(example())]})
    server.curl(f"{MODEL}:predict", body={"instances": []})
    server.score()
    _, text = server.curl("/monitoring/prometheus/metrics")
    prefix = ":tensorflow:serving:"
    assert f"# TYPE {prefix}request_count counter\n" in text
    assert f'{prefix}request_count{{model_name="{NAME}",status="OK"}} ' in text
    assert f'{prefix}request_count{{model_name="{NAME}",status="INVALID_ARGUMENT"}} ' in text
    for api, entrypoint in (("predict", "REST"), ("Predict", "GRPC")):
        labels = f'model_name="{NAME}",API="{api}",entrypoint="{entrypoint}"'
        assert f'{prefix}request_latency_bucket{{{labels},le="18"}} ' in text
    labels = f'model_name="{NAME}",API="Predict",runtime="TF1"'
    assert f"{prefix}runtime_latency_count{{{labels}}} " in text
    names = {family.name for family in text_string_to_metric_families(text)}
    assert f"{prefix}runtime_latency" in names
    assert "serving_requests" in names


def test_health(server: Server) -> None:
    assert server.curl("/health") == (200, {"ready": True})
