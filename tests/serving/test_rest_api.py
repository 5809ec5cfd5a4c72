"""TensorFlow Serving's REST API, asked with curl."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from running_server import Server
from scorer import NAME, example

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
    status, answer = server.curl(f"{MODEL}/labels/stable/metadata")
    assert status == 200
    assert answer["model_spec"]["version"] == "1"
    signature = answer["metadata"]["signature_def"]["signature_def"]["tensors"]
    assert signature["inputs"]["weight"]["dtype"] == "DT_FLOAT"


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("/v1/models/other:predict", {"instances": [1]}, 404, "Servable not found"),
        (f"{MODEL}/versions/9:predict", {"instances": [1]}, 404, f"Specific({NAME}, 9)"),
        (f"{MODEL}/labels/beta:predict", {"instances": [1]}, 400, "version label: beta"),
        (f"{MODEL}/versions/{1 << 64}:predict", {"instances": [1]}, 400, "numeric"),
        (f"{MODEL}:explain", {"instances": [1]}, 404, "Malformed request"),
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
        (f"{MODEL}:predict", {"signature_name": "no", "instances": [1]}, 412, '"no" not found'),
        (
            f"{MODEL}:predict",
            {"signature_name": "tensors", "instances": [{"weight": 1.0}]},
            400,
            "keys must be equal to: kind,weight",
        ),
        (
            f"{MODEL}:predict",
            {"signature_name": "tensors", "inputs": {"weight": [1e300], "kind": ["x"]}},
            400,
            "too large for float32",
        ),
        (
            f"{MODEL}:predict",
            {"signature_name": "tensors", "inputs": {"weight": [True], "kind": ["x"]}},
            400,
            "not of expected type: float32",
        ),
        (f"{MODEL}:predict", '{"instances": ' + "[" * 20 + "]" * 20 + "}", 400, "dimensions"),
        (
            f"{MODEL}:predict",
            '{"signature_name": "tensors", "inputs": {"weight": [1'
            + "0" * 400
            + '], "kind": ["x"]}}',
            400,
            "too large for float32",
        ),
        (
            f"{MODEL}:predict",
            r'{"signature_name": "\ud800", "instances": [1]}',
            400,
            "string value",
        ),
        (f"{MODEL}:regress", r'{"examples": [{"\ud800": 1}]}', 400, "no valid text"),
        (f"{MODEL}/versions/{'1' * 5000}:predict", {"instances": [1]}, 404, "Malformed request"),
        (f"{MODEL}:regress", {"examples": [{}]}, 400, "Expected regression signature"),
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
            {"signature_name": "regress", "examples": [{"weight": 1 << 70}]},
            400,
            "out of range",
        ),
    ],
)
def test_what_is_wrong_is_said(
    server: Server, path: str, body: Any, status: int, text: str
) -> None:
    found, answer = server.curl(path, body=body)
    assert found == status
    assert text in answer["error"]


def test_a_wrong_method(server: Server) -> None:
    assert server.curl(f"{MODEL}:predict")[0] == 405


def test_metrics_for_prometheus(server: Server) -> None:
    server.curl(f"{MODEL}:predict", body={"instances": [b64(example())]})
    server.curl("/v1/models/made-up-name:predict", body={"instances": ["x"]})
    _, text = server.curl("/monitoring/prometheus/metrics")
    assert f'serving_requests_total{{code="OK",method="predict",model="{NAME}"}}' in text
    assert f'serving_version{{label="stable",model="{NAME}",version="1"}} 1.0' in text
    assert "serving_request_seconds_bucket" in text
    assert "made-up-name" not in text


def test_health(server: Server) -> None:
    assert server.curl("/health") == (200, {"ready": True})
