"""Limits of a server: its queue, deadlines, draining, tokens, TLS, sizes of requests."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from base.errors import ComponentError
from components.pusher.model_servers import Silent, Way, versions_of
from tests.serving.running_server import Server, flags_of, running, wait_for
from tests.serving.scorer import NAME, example, request, tensors

pytestmark = pytest.mark.component
Code = grpc.StatusCode


@pytest.fixture(scope="module")
def base(scorers, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("limits") / NAME
    folder.mkdir()
    (folder / "1").symlink_to(scorers[1])
    return folder


@pytest.fixture(scope="module")
def small(base: Path, tmp_path_factory):
    """Runs a server with a queue of three."""
    folder = tmp_path_factory.mktemp("small")
    with running(folder, *flags_of(base), "--queue", "3", "--max-request-bytes", "65536") as found:
        yield found


def test_requests_beyond_the_queue_are_rejected_at_once(small: Server) -> None:
    calls = [small.prediction.Predict.future(tensors("slow", x=[1.0]), timeout=60)
             for _ in range(12)]  # fmt: skip
    codes = [call.code() for call in calls]
    assert codes.count(Code.RESOURCE_EXHAUSTED) >= 6
    assert codes.count(Code.OK) >= 3
    assert {*codes} == {Code.OK, Code.RESOURCE_EXHAUSTED}
    refused = next(call for call in calls if call.code() == Code.RESOURCE_EXHAUSTED)
    assert "queue is full" in refused.details()
    assert small.score() == 2.0


def test_a_probe_is_answered_while_the_queue_is_full(small: Server) -> None:
    calls = [small.prediction.Predict.future(tensors("slow", x=[1.0]), timeout=60)
             for _ in range(6)]  # fmt: skip
    health = health_pb2_grpc.HealthStub(small.channel)
    assert health.Check(health_pb2.HealthCheckRequest(), timeout=5).status == 1
    assert small.curl("/health") == (200, {"ready": True})
    for call in calls:
        call.code()


def _is_serving(health: Any, asked: Any) -> bool:
    return bool(health.Check(asked, timeout=5).status == health_pb2.HealthCheckResponse.SERVING)


def test_a_probe_may_name_a_service_as_tensorflow_serving_does(small: Server) -> None:
    """server.cc, BuildAndStart: SetServingStatus."""
    health = health_pb2_grpc.HealthStub(small.channel)
    for name in ("", "PredictionService", "ModelService", "tensorflow.serving.PredictionService"):
        asked = health_pb2.HealthCheckRequest(service=name)
        wait_for(functools.partial(_is_serving, health, asked))


def test_a_request_past_its_deadline_is_rejected(small: Server) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        small.prediction.Predict(tensors("slow", x=[1.0]), timeout=0.05)
    assert raised.value.code() == Code.DEADLINE_EXCEEDED
    body = {"signature_name": "slow", "instances": [1.0]}
    header = ["-H", "x-request-timeout-ms: 50"]
    status, answer = small.curl(f"/v1/models/{NAME}:predict", *header, body=body)
    assert status == 504
    assert "deadline" in answer["error"]
    wait_for(lambda: "in_flight 0.0" in small.curl("/monitoring/prometheus/metrics")[1])


def test_a_request_that_is_too_large_is_rejected(small: Server) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        small.prediction.Predict(request(example(kind="x" * 100_000)), timeout=20)
    assert raised.value.code() == Code.RESOURCE_EXHAUSTED
    status, answer = small.curl(f"/v1/models/{NAME}:predict", body={"instances": ["x" * 100_000]})
    assert status == 413
    assert answer["error"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_server_finishes_running_requests(
    base: Path, tmp_path: Path, number: int
) -> None:
    with running(tmp_path, *flags_of(base), "--grace-seconds", "60") as server:
        calls = [server.prediction.Predict.future(tensors("slow", x=[1.0]), timeout=60)
                 for _ in range(4)]  # fmt: skip
        rest: list[tuple[int, object]] = []
        body = {"signature_name": "slow", "instances": [1.0]}
        asking = threading.Thread(
            target=lambda: rest.append(server.curl(f"/v1/models/{NAME}:predict", body=body))
        )
        asking.start()
        wait_for(lambda: "in_flight 5.0" in server.curl("/monitoring/prometheus/metrics")[1])
        server.process.send_signal(number)
        assert [call.code() for call in calls] == [Code.OK] * 4
        asking.join()
        assert rest[0][0] == 200
        assert server.process.wait(timeout=60) == 0
        with pytest.raises(grpc.RpcError):
            server.score()


def test_a_taken_port_is_a_one_line_error(base: Path, small: Server) -> None:
    command = [
        *small.process.args[:4],  # type: ignore[index]
        *flags_of(base), "--port", str(small.grpc_port), "--rest-api-port", "0",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "Stop the other server, or choose another --port" in done.stderr
    assert "Traceback" not in done.stderr


def test_inconsistent_options_are_a_one_line_error() -> None:
    for flags, text in (
        ([], "model_name and model_base_path, or model_config_file"),
        (
            ["--model-name", "a", "--model-base-path", "b", "--tls-key", "k"],
            "must be given together",
        ),
        (["--model-name", "a", "--model-base-path", "b", "--queue", "0"], "queue"),
        (["--model-name", "a", "--model-base-path", "b", "--token-env", "NONE"], "NONE must"),
    ):
        command = [sys.executable, "-m", "serving", "serve", *flags]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 1
        assert text in done.stderr
        assert "Traceback" not in done.stderr


def _certificate(folder: Path) -> tuple[Path, Path]:
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def test_tls_and_a_token(base: Path, tmp_path: Path) -> None:
    certificate, key = _certificate(tmp_path)
    flags = ["--tls-certificate", str(certificate), "--tls-key", str(key)]
    flags += ["--token-env", "SERVING_TOKEN"]
    with running(tmp_path, *flags_of(base), *flags, SERVING_TOKEN="s3cret") as server:
        credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
        address = f"localhost:{server.grpc_port}"
        with grpc.secure_channel(address, credentials) as channel:
            server.channel = channel
            for sent in ([], [("authorization", "Bearer wrong")]):
                with pytest.raises(grpc.RpcError) as raised:
                    server.prediction.Predict(request(example()), timeout=20, metadata=sent)
                assert raised.value.code() == Code.UNAUTHENTICATED
            sent = [("authorization", "Bearer s3cret")]
            assert server.prediction.Predict(request(example()), timeout=20, metadata=sent)
            health = health_pb2_grpc.HealthStub(channel)
            assert health.Check(health_pb2.HealthCheckRequest(), timeout=5).status == 1
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SERVING_TOKEN", "s3cret")
            assert_releases_reach(address, str(certificate))
        url = f"https://localhost:{server.rest_port}/v1/models/{NAME}"
        curl = ["curl", "-s", "--cacert", str(certificate), "-o", "/dev/null", "-w", "%{http_code}"]
        codes = [
            subprocess.run([*curl, *header, url], capture_output=True, text=True, check=True).stdout
            for header in ([], ["-H", "Authorization: Bearer s3cret"])
        ]
        assert codes == ["401", "200"]
        with grpc.insecure_channel(address) as plain:
            server.channel = plain
            with pytest.raises(grpc.RpcError):
                server.prediction.Predict(request(example()), timeout=3)
        assert "s3cret" not in server.log.read_text()
        command_line = Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
        assert b"s3cret" not in command_line


def assert_releases_reach(address: str, certificate: str) -> None:
    """promote, rollback and the Pusher use this to ask which versions are loaded."""
    way = Way(tls_ca=certificate, token_env="SERVING_TOKEN")
    (found,) = versions_of([address], NAME, way).values()
    assert isinstance(found, dict)
    assert {one.state for one in found.values()} == {"AVAILABLE"}
    other_name = f"127.0.0.1:{address.rpartition(':')[2]}"
    named = dataclasses.replace(way, tls_name="localhost")
    assert isinstance(versions_of([other_name], NAME, named)[other_name], dict)
    (silent,) = versions_of([address], NAME, Way(tls_ca=certificate)).values()
    assert isinstance(silent, Silent)
    assert "a valid bearer token is required" in silent.reason
    (silent,) = versions_of([address], NAME).values()
    assert isinstance(silent, Silent)
    assert silent.is_away
    with pytest.raises(ComponentError, match="anybody can read"):
        versions_of([address], NAME, Way(token_env="SERVING_TOKEN"))
    with pytest.raises(ComponentError, match="variable NONE is not set"):
        versions_of([address], NAME, Way(tls_ca=certificate, token_env="NONE"))
    with pytest.raises(ComponentError, match=r"serving\.tls_ca: .*nothing"):
        versions_of([address], NAME, Way(tls_ca="/nothing"))


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--tls-certificate", "/nothing", "--tls-key", "/nothing"], "--tls-certificate /nothing"),
        (["--admin-socket", "/nothing/a"], "mkdir /nothing"),
        (["--admin-socket", "/tmp/a", "--model-root", "/nothing"], "--model-root /nothing"),
        (["--model-root", "/tmp"], "it needs --admin-socket"),
    ],
)
def test_missing_files_are_reported_before_a_model_is_loaded(
    base: Path, flags: list[str], text: str
) -> None:
    command = [sys.executable, "-m", "serving", "serve", *flags_of(base), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert text in done.stderr
    assert "loading" not in done.stderr


def test_an_invalid_certificate_is_a_one_line_error(base: Path, tmp_path: Path) -> None:
    certificate, key = _certificate(tmp_path)
    certificate.write_text("nothing")
    command = [sys.executable, "-m", "serving", "serve", *flags_of(base), "--port", "0"]
    command += ["--tls-certificate", str(certificate), "--tls-key", str(key)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "TLS" in done.stderr
    assert "Traceback" not in done.stderr


def test_time_is_utc_in_the_log_folder(base: Path, tmp_path: Path) -> None:
    log = tmp_path / "requests"
    with running(tmp_path, *flags_of(base), "--request-log", str(log)) as server:
        server.score()
        time.sleep(1.5)
        now = dt.datetime.now(dt.timezone.utc)
        (open_file,) = log.glob(".open-*.json")
        assert open_file.name.startswith(f".open-{now:%Y-%m-%d}-")
        assert server.stop() == 0
    (closed,) = log.glob("*/*/*.json.gz")
    assert closed.parent.parent.name == f"{now:%Y-%m-%d}"
