"""Runs the real server in a process of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import text_format
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

from tests.serving.scorer import NAME, example, request

ROOT = Path(__file__).parents[2]
ADMIN_TOKEN = "of the administrator"
ADMINISTRATED = ("--admin-token-env", "TEST_ADMIN_TOKEN")


@dataclasses.dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[str]
    grpc_port: int
    rest_port: int
    log: Path
    channel: grpc.Channel

    @property
    def prediction(self) -> Any:
        return prediction_service_pb2_grpc.PredictionServiceStub(self.channel)

    @property
    def model(self) -> Any:
        return model_service_pb2_grpc.ModelServiceStub(self.channel)

    def reload(self, asked: model_management_pb2.ReloadConfigRequest) -> Any:
        """Sends a config with the administrator's token; needs `running(..., *ADMINISTRATED)`."""
        sent = [("authorization", f"Bearer {ADMIN_TOKEN}")]
        return self.model.HandleReloadConfigRequest(asked, metadata=sent, timeout=60)

    def score(self, weight: float = 2.0, **spec: Any) -> float:
        answer = self.prediction.Predict(request(example(weight, "x"), **spec), timeout=20)
        return float(answer.outputs["score"].float_val[0])

    def version(self, **spec: Any) -> int:
        answer = self.prediction.Predict(request(example(), **spec), timeout=20)
        return int(answer.model_spec.version.value)

    def states(self, name: str = NAME) -> dict[int, str]:
        asked = get_model_status_pb2.GetModelStatusRequest()
        asked.model_spec.name = name
        found = self.model.GetModelStatus(asked, timeout=20).model_version_status
        kinds = get_model_status_pb2.ModelVersionStatus.State
        return {one.version: kinds.Name(one.state) for one in found}

    def curl(self, path: str, *options: str, body: Any = None) -> tuple[int, Any]:
        """Returns the HTTP status and the JSON of an answer."""
        command = ["curl", "-s", "-w", "\n%{http_code}", *options]
        sent = None
        if body is not None:
            command += ["-H", "Content-Type: application/json", "--data-binary", "@-"]
            sent = body if isinstance(body, str) else json.dumps(body)
        command.append(f"http://127.0.0.1:{self.rest_port}{path}")
        done = subprocess.run(command, input=sent, capture_output=True, text=True, check=True)
        text, _, status = done.stdout.rpartition("\n")
        return int(status), json.loads(text) if text.startswith(("{", "[")) else text

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=60)


def wait_for(condition: Callable[[], Any], seconds: float = 150.0) -> Any:
    """Waits until a condition is true and returns its value."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, f"not within {seconds} s"
        time.sleep(0.05)
    return found


@contextlib.contextmanager
def running(
    folder: Path, *flags: str, before: Sequence[str] = (), **environment: str
) -> Iterator[Server]:
    """Runs a server while the block runs.

    Args:
      folder: Folder of this server only, for its log and its ports.
      flags: Flags of `python -m serving serve`.
      before: Command that runs the server, such as prlimit.
      environment: Additional environment variables.
    """
    ports, log = folder / "ports.json", folder / "server.log"
    ports.unlink(missing_ok=True)
    command = [*before, sys.executable, "-m", "serving", "serve", "--port", "0"]
    command += ["--rest-api-port", "0"]
    command += ["--poll-seconds", "0.2", "--port-file", str(ports), *flags]
    with log.open("a") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, cwd=ROOT, text=True,
            env={**os.environ, "TEST_ADMIN_TOKEN": ADMIN_TOKEN, **environment},
        )  # fmt: skip
    try:
        wait_for(lambda: ports.exists() or process.poll() is not None, 120)
        assert process.poll() is None, log.read_text()[-3000:]
        found = json.loads(ports.read_text())
        with grpc.insecure_channel(f"127.0.0.1:{found['grpc']}") as channel:
            yield Server(process, found["grpc"], found["rest"], log, channel)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def flags_of(base: Path) -> list[str]:
    return ["--model-name", NAME, "--model-base-path", str(base)]


def push(base: Path, scorers: dict[int, Path], number: int, of: int | None = None) -> None:
    """Adds a version in one step, like the Pusher."""
    hidden = base / f".incoming-{number}"
    shutil.copytree(scorers[of or number], hidden)
    hidden.rename(base / str(number))


def config_text(base: Path, policy: str, **labels: int) -> str:
    named = " ".join(
        f'version_labels {{ key: "{label}" value: {number} }}' for label, number in labels.items()
    )
    return (
        f'model_config_list {{ config {{ name: "{NAME}" base_path: "{base}" '
        f"model_version_policy {{ {policy} }} {named} }} }}"
    )


def reload_request(text: str) -> model_management_pb2.ReloadConfigRequest:
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    return model_management_pb2.ReloadConfigRequest(config=config)
