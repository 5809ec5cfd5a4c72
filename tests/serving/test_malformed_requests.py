"""Malformed requests get an error with a reason, and do not crash the server or leak memory."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.serving.running_server import Server, flags_of, running
from tests.serving.scorer import NAME, example, request

QUICK, MANY = 300, 10_000
_GRPC_CODES = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
METHODS = ["Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata"]

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.builds(lambda text: {"b64": text}, st.text("QUJD=", max_size=8)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["examples", "weight", "kind", "b64", "x", "inputs"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
json_requests = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": st.sampled_from(["tensors", "regress", "classify", "no", ""])
        | json_values,
        "instances": json_values,
        "inputs": json_values,
        "examples": json_values,
        "context": json_values,
    },
)
paths = st.sampled_from(
    [
        f"/v1/models/{NAME}:predict",
        f"/v1/models/{NAME}/versions/1:regress",
        f"/v1/models/{NAME}/labels/stable:classify",
        f"/v1/models/{NAME}/versions/99999999999999999999:predict",
        "/v1/models/:predict",
        "/v1/models/%00:predict",
        f"/v1/models/{NAME}:delete",
        "/v1/models/../../etc/passwd",
    ]
)
bodies = json_requests.map(json.dumps) | st.text(max_size=40) | json_values.map(json.dumps)


@st.composite
def damaged_messages(draw: st.DrawFn) -> bytes:
    """Returns a valid request with bytes changed, cut off or doubled, or random bytes."""
    good = example(draw(st.floats(width=32)), draw(st.text(max_size=5)))
    content = bytearray(request(good).SerializeToString())
    for _ in range(draw(st.integers(0, 6))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    end = draw(st.integers(0, len(content)))
    return draw(
        st.sampled_from([bytes(content), bytes(content[:end]), bytes(content) * 2])
        | st.binary(max_size=60)
    )


@pytest.fixture(scope="module")
def victim(scorers, tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("victim")
    base: Path = folder / NAME
    base.mkdir()
    (base / "1").symlink_to(scorers[1])
    log = str(folder / "requests")
    with running(folder, *flags_of(base), "--request-log", log) as server:
        yield server


def ask_by_rest(server: Server, many: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)

    @seed(7)
    @settings(max_examples=many, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(path=paths, body=bodies)
    def ask(path: str, body: str) -> None:
        connection.request("POST", path, body.encode("utf-8", "surrogatepass"))
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status < 500, (path, body, text)
        if answer.status >= 400:
            assert json.loads(text)["error"]

    ask()


def ask_by_grpc(server: Server, many: int) -> None:
    calls = [
        server.channel.unary_unary(f"/tensorflow.serving.PredictionService/{method}")
        for method in METHODS
    ]

    @seed(7)
    @settings(max_examples=many, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(method=st.integers(0, len(METHODS) - 1), message=damaged_messages())
    def ask(method: int, message: bytes) -> None:
        try:
            calls[method](message, timeout=20)
        except grpc.RpcError as error:
            assert error.details()
            assert error.code() in _GRPC_CODES, (METHODS[method], message, error.details())

    ask()


def _mib(server: Server) -> float:
    return float(psutil.Process(server.process.pid).memory_info().rss) / (1 << 20)


def assert_unharmed(server: Server, ask: Any, many: int, most_mib: float) -> None:
    ask(server, min(many, QUICK))
    before = _mib(server)
    ask(server, many)
    assert _mib(server) - before < most_mib
    assert server.process.poll() is None
    assert server.score() == 2.0
    assert "Traceback" not in server.log.read_text()


@pytest.mark.component
@pytest.mark.parametrize("ask", [ask_by_rest, ask_by_grpc])
def test_some_malformed_requests(victim: Server, ask: Any) -> None:
    assert_unharmed(victim, ask, QUICK, 40)


@pytest.mark.component
@pytest.mark.slow
@pytest.mark.parametrize("ask", [ask_by_rest, ask_by_grpc])
def test_ten_thousand_malformed_requests(victim: Server, ask: Any) -> None:
    assert_unharmed(victim, ask, MANY, 40)
