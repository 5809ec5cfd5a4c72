"""Attacks by strangers who reach the ports must not affect other clients."""

from __future__ import annotations

import base64
import contextlib
import gzip
import http.client
import json
import socket
import stat
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import ValidationError
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving.server.options import ServerOptions
from tests.serving.running_server import (
    ADMINISTRATED,
    Server,
    config_text,
    flags_of,
    push,
    reload_request,
    running,
    wait_for,
)
from tests.serving.scorer import NAME, example, request

pytestmark = pytest.mark.component

Code = grpc.StatusCode
PREDICT = "/tensorflow.serving.PredictionService/Predict"
CHECK = "/grpc.health.v1.Health/Check"
TOKEN = ("--token-env", "TEST_TOKEN")
HONEST_S = 2.0  # time limit of an honest request during an attack; usually some ms


@pytest.fixture(scope="module")
def base(scorers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attacks") / NAME
    folder.mkdir()
    push(folder, scorers, 1)
    return folder


@pytest.fixture(scope="module")
def open_server(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("open"), *flags_of(base)) as server:
        yield server


@pytest.fixture(scope="module")
def guarded(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("guarded")
    flags = (*flags_of(base), *TOKEN, *ADMINISTRATED)
    with running(folder, *flags, TEST_TOKEN="of predictions") as server:
        yield server


def refused(
    call: grpc.UnaryUnaryMultiCallable, asked: object, token: str | None
) -> grpc.StatusCode:
    sent = [] if token is None else [("authorization", f"Bearer {token}")]
    with pytest.raises(grpc.RpcError) as raised:
        call(asked, metadata=sent, timeout=20)
    return raised.value.code()


def test_by_default_no_client_changes_what_is_served(open_server: Server, base: Path) -> None:
    asked = reload_request(config_text(base, "all {}"))
    reload = open_server.model.HandleReloadConfigRequest
    for token in (None, "of the administrator", ""):
        assert refused(reload, asked, token) == Code.PERMISSION_DENIED
    assert open_server.score() == 2.0


def test_the_token_of_one_plane_is_rejected_by_the_other(guarded: Server, base: Path) -> None:
    asked = reload_request(config_text(base, "all {}"))
    reload = guarded.model.HandleReloadConfigRequest
    for token in (None, "of predictions", "of the administrator "):
        assert refused(reload, asked, token) == Code.UNAUTHENTICATED
    for token in (None, "of the administrator", "ä"):
        if token is None or token.isascii():
            assert refused(guarded.prediction.Predict, request(example()), token) == (
                Code.UNAUTHENTICATED
            )
    guarded.reload(asked)
    status, _ = guarded.curl(f"/v1/models/{NAME}", "-H", "Authorization: Bearer of predictions")
    assert status == 200
    status, _ = guarded.curl(f"/v1/models/{NAME}", "-H", "Authorization: Bearer \x80")
    assert status == 401


def test_the_administration_socket_is_private_to_the_user(base: Path, tmp_path: Path) -> None:
    # The path of a Unix socket may have 107 bytes.
    with contextlib.ExitStack() as stack:
        path = Path(stack.enter_context(_short_folder())) / "admin"
        flags = [*flags_of(base), "--admin-socket", str(path)]
        with running(tmp_path, *flags) as server:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            asked = reload_request(config_text(base, "specific { versions: 1 }", stable=1))
            with grpc.insecure_channel(f"unix:{path}") as channel:
                stub = model_service_pb2_grpc.ModelServiceStub(channel)
                stub.HandleReloadConfigRequest(asked, timeout=60)
                predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
                assert refused(predict, request(example()), None) == Code.UNIMPLEMENTED
            assert server.version(label="stable") == 1
            other = tmp_path / "other"
            other.mkdir()
            with pytest.raises(AssertionError, match="another server"), running(other, *flags):
                pass
        with running(tmp_path, *flags) as server:  # the socket of a stopped server is replaced
            assert server.score() == 2.0


@contextlib.contextmanager
def _short_folder() -> Iterator[str]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield folder


@contextlib.contextmanager
def calls_without_message(server: Server, method: str, count: int) -> Iterator[None]:
    """Opens calls that send nothing, over ten connections."""
    ends = threading.Event()

    def nothing() -> Iterator[bytes]:
        ends.wait(60)
        yield from ()

    with contextlib.ExitStack() as stack:
        calls = []
        for number in range(count):
            if number % (count // 10) == 0:
                own = [("grpc.use_local_subchannel_pool", 1)]
                channel = grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", own)
                stack.enter_context(channel)
            calls.append(channel.stream_unary(method).future(nothing()))
        time.sleep(0.5)
        try:
            yield
        finally:
            ends.set()
            for call in calls:
                call.cancel()


@pytest.mark.parametrize("method", [PREDICT, CHECK])
@pytest.mark.parametrize("which", ["open_server", "guarded"])
def test_calls_without_message_do_not_block_others(
    which: str, method: str, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(which)
    with calls_without_message(server, method, 300):
        for _ in range(20):
            assert answers(server, which)
            assert is_healthy(server)
            assert server.curl("/health") == (200, {"ready": True})


def answers(server: Server, which: str) -> bool:
    sent = [("authorization", "Bearer of predictions")] if which == "guarded" else []
    found = server.prediction.Predict(request(example(2.0, "x")), metadata=sent, timeout=HONEST_S)
    return float(found.outputs["score"].float_val[0]) == 2.0


def is_healthy(server: Server) -> bool:
    stub = health_pb2_grpc.HealthStub(server.channel)
    found = stub.Check(health_pb2.HealthCheckRequest(), timeout=HONEST_S)
    return bool(found.status == health_pb2.HealthCheckResponse.SERVING)


@contextlib.contextmanager
def connections(port: int, count: int, sent: bytes) -> Iterator[list[socket.socket]]:
    """Opens `count` connections that only send `sent`."""
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(count):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            with contextlib.suppress(OSError):  # the server closed it
                one.sendall(sent)
            found.append(one)
        yield found


BODY = (
    f"POST /v1/models/{NAME}:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{{"
).encode()


@pytest.mark.parametrize(
    "sent",
    [b"", b"POST /v1/models/x:predict HTTP/1.1\r\nHost: ", BODY],
    ids=["nothing", "half a head", "half a body"],
)
def test_connections_and_bodies_that_never_end_do_not_block_others(
    open_server: Server, sent: bytes
) -> None:
    with connections(open_server.rest_port, 300, sent):
        for _ in range(20):
            status, found = open_server.curl(
                f"/v1/models/{NAME}:predict", "-m", str(HONEST_S), body=json_request()
            )
            assert (status, found) == (200, {"predictions": [[2.0]]})
    assert open_server.curl("/health") == (200, {"ready": True})


def json_request() -> dict[str, object]:
    text = base64.b64encode(example(2.0, "x")).decode()
    return {"instances": [{"b64": text}]}


def test_few_descriptors_suffice_and_the_log_stays_small(
    base: Path, scorers, tmp_path: Path
) -> None:
    """260 idle connections stopped everything, and wrote 199 MB in 95 s."""
    own = tmp_path / NAME
    own.mkdir()
    push(own, scorers, 1)
    limits = ["prlimit", "--nofile=256:256"]
    with running(tmp_path, *flags_of(own), before=limits) as server, contextlib.ExitStack() as all_:
        assert server.score() == 2.0
        for port in (server.rest_port, server.grpc_port):
            all_.enter_context(connections(port, 300, b""))
        assert server.curl("/health") == (200, {"ready": True})
        assert server.score() == 2.0  # over the existing connection
        # gRPC ousts no connection, but it does not wait long for the first bytes of one.
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
            predict(request(example()), timeout=20, wait_for_ready=True)
        push(own, scorers, 2)  # loading it opens files
        wait_for(lambda: server.version() == 2)
        assert server.log.stat().st_size < 100_000


def test_a_connection_that_receives_an_answer_is_not_ousted(base: Path, tmp_path: Path) -> None:
    """The connection has no request, but it is not idle."""
    rows = 1_000_000
    asked = json.dumps({"signature_name": "guarded", "inputs": {"weight": [1.5] * rows}}).encode()
    head = f"POST /v1/models/{NAME}:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(asked)}"
    head += "\r\nConnection: close"
    with running(tmp_path, *flags_of(base), "--connections", "8") as server:
        with connections(server.rest_port, 1, head.encode() + b"\r\n\r\n" + asked) as (slow,):
            slow.settimeout(60)
            begin = slow.recv(1000)
            with connections(server.rest_port, 30, b""):
                time.sleep(0.5)
                found = begin + b"".join(iter(lambda: slow.recv(1 << 20), b""))
                assert len(json.loads(found.partition(b"\r\n\r\n")[2])["outputs"]) == rows
        assert server.curl("/health") == (200, {"ready": True})


def test_the_largest_body_ends_if_memory_is_short(base: Path, tmp_path: Path) -> None:
    most = 200 << 20
    flags = [*flags_of(base), "--max-request-bytes", str(most)]
    body = b"x" * (most - 1000)
    head = f"POST /v1/models/{NAME}:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {most}\r\n\r\n"
    with running(tmp_path, *flags) as server, contextlib.ExitStack() as stack:
        found = [
            stack.enter_context(connections(server.rest_port, 1, head.encode() + body))[0]
            for _ in range(3)
        ]
        answers = []
        for one in found:
            one.settimeout(15)
            answers.append(one.recv(100)[9:12])
        # One body ended for lack of memory, the others because no more bytes came.
        assert sorted(answers) == [b"503", b"504", b"504"]
        assert server.curl("/health") == (200, {"ready": True})


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_compression_bomb_is_rejected_before_it_inflates(
    open_server: Server, coding: str
) -> None:
    pack = gzip.compress if coding == "gzip" else zlib.compress
    bomb = pack(b" " * (200 << 20))
    process = psutil.Process(open_server.process.pid)
    before = process.memory_info().rss
    connection = http.client.HTTPConnection("127.0.0.1", open_server.rest_port, timeout=60)
    for _ in range(5):
        head = {"Content-Encoding": coding, "Content-Type": "application/json"}
        connection.request("POST", f"/v1/models/{NAME}:predict", bomb, head)
        answer = connection.getresponse()
        assert answer.status == 413
        assert "at most 200 times its size" in json.loads(answer.read())["error"]
    assert process.memory_info().rss - before < 80 << 20
    packed = pack(json.dumps(json_request()).encode())
    head = {"Content-Encoding": coding}
    for body, status in ((packed, 200), (packed[:-5], 400), (b"x", 400), (packed + b"x", 400)):
        connection.request("POST", f"/v1/models/{NAME}:predict", body, head)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
    text = json.dumps(json_request()).encode()
    parts = {
        "gzip": gzip.compress(text[:9]) + gzip.compress(text[9:]),
        "deflate": zlib.compress(text)[2:-4],  # without the zlib header, as some clients send it
    }
    connection.request("POST", f"/v1/models/{NAME}:predict", parts[coding], head)
    answer = connection.getresponse()
    assert json.loads(answer.read()) == {"predictions": [[2.0]]}
    connection.request("POST", f"/v1/models/{NAME}:predict", b"x", {"Content-Encoding": "br"})
    assert connection.getresponse().status == 400


def test_a_name_cannot_forge_the_log(guarded: Server, base: Path) -> None:
    forged = "a\n2026-01-01 00:00:00,000 WARNING all is well\x1b[2K"
    asked = reload_request(config_text(base, "all {}"))
    asked.config.model_config_list.config[0].name = forged
    with pytest.raises(grpc.RpcError, match="the name of a model or label must"):
        guarded.reload(asked)
    text = guarded.log.read_text()
    assert "all is well" not in text
    assert "\x1b" not in text


def test_the_tokens_of_both_planes_differ(base: Path, tmp_path: Path) -> None:
    flags = [*flags_of(base), "--token-env", "TEST_ADMIN_TOKEN", *ADMINISTRATED]
    with pytest.raises(AssertionError, match="hold the same token"), running(tmp_path, *flags):
        pass


def test_clients_that_disconnect_are_not_logged(open_server: Server) -> None:
    before = open_server.log.stat().st_size
    with connections(open_server.rest_port, 20, BODY):
        pass
    time.sleep(1)
    assert open_server.curl("/health") == (200, {"ready": True})
    assert open_server.log.stat().st_size == before


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "ctr.example", ""])  # noqa: S104
def test_a_public_address_needs_a_token_or_tls(base: Path, host: str) -> None:
    given = {"model_base_path": base, "host": host}
    with pytest.raises(ValidationError, match=r"other machines can reach .*: give --token-env"):
        ServerOptions(**given)
    with pytest.raises(ValidationError, match="admin-token-env needs --tls-certificate"):
        ServerOptions(**given, token_env="A", admin_token_env="B")
    assert ServerOptions(**given, token_env="A").host == host
    tls = {"tls_certificate": "a.pem", "tls_key": "b.pem"}
    assert ServerOptions(**given, **tls, admin_token_env="B").host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1.2.3"])
def test_a_loopback_address_needs_no_token(base: Path, host: str) -> None:
    assert ServerOptions(model_base_path=base, host=host).admin_socket is None
