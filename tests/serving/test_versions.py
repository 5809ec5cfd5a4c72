"""The versions that answer: policies, labels, damaged versions, reloads under load."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2

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


class Asking:
    """Sends requests from several threads without a pause, while the block runs."""

    def __init__(self, server: Server, label: str = ""):
        self.server, self.label = server, label
        self.versions: set[int] = set()
        self.errors: list[str] = []
        self.answers = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                self.versions.add(self.server.version(label=self.label))
                self.answers += 1
            except grpc.RpcError as error:
                self.errors.append(f"{error.code()} {error.details()}")

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / NAME
    folder.mkdir()
    return folder


@pytest.fixture
def latest(base: Path, scorers, tmp_path: Path) -> Iterator[Server]:
    push(base, scorers, 1)
    with running(tmp_path, *flags_of(base), *ADMINISTRATED) as server:
        yield server


def test_a_new_version_replaces_the_old_one_and_no_request_fails(
    latest: Server, base: Path, scorers
) -> None:
    with Asking(latest) as asking:
        wait_for(lambda: asking.answers > 20)
        push(base, scorers, 2)
        wait_for(lambda: 2 in asking.versions)
        wait_for(lambda: latest.states() == {2: "AVAILABLE", 1: "END"})
    assert asking.errors == []
    assert asking.versions == {1, 2}
    assert latest.score(version=2) == 4.0


@pytest.mark.parametrize("damage", ["empty", "cut graph", "cut weights", "foreign"])
def test_a_damaged_version_is_reported_and_the_old_one_stays(
    latest: Server, base: Path, scorers, damage: str
) -> None:
    hidden = base / ".incoming-2"
    if damage in ("empty", "foreign"):
        hidden.mkdir()
        if damage == "foreign":
            (hidden / "model.onnx").write_bytes(b"\0" * 1000)
    else:
        shutil.copytree(scorers[2], hidden)
        pattern = "saved_model.pb" if damage == "cut graph" else "variables/*.data-*"
        (file,) = hidden.glob(pattern)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with Asking(latest) as asking:
        hidden.rename(base / "2")
        wait_for(lambda: latest.states().get(2) == "END")
        time.sleep(0.5)
    assert asking.errors == []
    assert asking.versions == {1}
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name, asked.model_spec.version.value = NAME, 2
    (found,) = latest.model.GetModelStatus(asked, timeout=20).model_version_status
    assert found.status.error_code != 0
    assert found.status.error_message
    assert latest.log.read_text().count(f"cannot load {NAME} version 2: ") == 1
    # Once fixed, it takes over.
    shutil.rmtree(base / "2")
    push(base, scorers, 2)
    wait_for(lambda: latest.version() == 2)


def test_a_server_starts_before_the_first_push(base: Path, scorers, tmp_path: Path) -> None:
    with running(tmp_path, *flags_of(base)) as server:
        assert server.curl("/health") == (503, {"ready": False})
        with pytest.raises(grpc.RpcError) as raised:
            server.score()
        assert raised.value.code() == grpc.StatusCode.NOT_FOUND
        push(base, scorers, 1)
        wait_for(lambda: server.curl("/health")[0] == 200)
        assert server.score() == 2.0


def test_a_client_may_send_a_config(latest: Server, base: Path, scorers) -> None:
    for number in (2, 3):
        push(base, scorers, number)
    wait_for(lambda: latest.version() == 3)
    with Asking(latest) as asking:
        specific = config_text(base, "specific { versions: 1 versions: 2 }", stable=1, canary=2)
        latest.reload(reload_request(specific))
        assert latest.version(label="stable") == 1  # immediately after the answer
        assert latest.version(label="canary") == 2
        moved = config_text(base, "specific { versions: 1 versions: 2 }", stable=2)
        latest.reload(reload_request(moved))
        assert latest.version(label="stable") == 2
        wait_for(lambda: latest.states()[3] == "END")
    assert asking.errors == []
    with pytest.raises(grpc.RpcError, match="version label: canary"):
        latest.version(label="canary")


def test_an_invalid_config_changes_nothing(latest: Server, base: Path) -> None:
    bad = [
        (model_management_pb2.ReloadConfigRequest(), "must have a config"),
        (reload_request("model_config_list { config { } }"), "none of this server's folders"),
        (
            reload_request('model_config_list { config { name: "a" base_path: "/nowhere" } }'),
            "none of this server's folders",
        ),
        (
            reload_request(f'model_config_list {{ config {{ name: "a" base_path: "{base}/b" }} }}'),
            f"there is no version of a below {base}/b",
        ),
        (
            reload_request(
                f'model_config_list {{ config {{ name: "a" base_path: "{base}" '
                'model_platform: "onnx" } }'
            ),
            "model_platform must be tensorflow",
        ),
    ]
    for asked, text in bad:
        with pytest.raises(grpc.RpcError) as raised:
            latest.reload(asked)
        assert text in raised.value.details()
        assert latest.score() == 2.0


def test_models_config_of_the_pusher_is_followed(base: Path, scorers, tmp_path: Path) -> None:
    from components.pusher.release import Release, write_release

    for number in (1, 2, 3):
        push(base, scorers, number)
    write_release(base, Release(stable=2, previous=1))
    with running(tmp_path, *flags_of(base)) as server:
        assert server.states() == {2: "AVAILABLE", 1: "AVAILABLE"}
        with Asking(server, "stable") as asking:
            write_release(base, Release(stable=2, previous=1, canary=3))
            wait_for(lambda: server.states().get(3) == "AVAILABLE")
            wait_for(lambda: server.version(label="canary") == 3)
            write_release(base, Release(stable=3, previous=2))
            wait_for(lambda: server.version(label="stable") == 3)
            (base / "models.config").write_text("nonsense")
            wait_for(lambda: "cannot read" in server.log.read_text())
            assert server.version(label="stable") == 3
        assert asking.errors == []
        assert asking.versions == {2, 3}


def test_a_version_in_use_is_closed_after_its_last_request(
    latest: Server, base: Path, scorers
) -> None:
    from tests.serving.scorer import tensors

    slow = latest.prediction.Predict.future(tensors("slow", x=[1.0]), timeout=60)
    wait_for(lambda: "in_flight 1.0" in latest.curl("/monitoring/prometheus/metrics")[1])
    push(base, scorers, 2)
    wait_for(lambda: latest.states().get(2) == "AVAILABLE")
    assert slow.result().model_spec.version.value == 1
    wait_for(lambda: latest.states()[1] == "END")


def test_a_server_may_have_two_models(base: Path, scorers, tmp_path: Path) -> None:
    push(base, scorers, 1)
    other = tmp_path / "other"
    other.mkdir()
    push(other, scorers, 3)
    file = tmp_path / "models.config"
    file.write_text(
        f'model_config_list {{ config {{ name: "{NAME}" base_path: "{base}" }} '
        f'config {{ name: "other" base_path: "{other}" }} }}'
    )
    with running(tmp_path, "--model-config-file", str(file)) as server:
        assert (server.score(), server.score(name="other")) == (2.0, 6.0)
        file.write_text(config_text(base, "latest {}"))
        wait_for(lambda: server.states() and not _answers(server, "other"))
        assert server.score() == 2.0


def _answers(server: Server, name: str) -> bool:
    try:
        server.prediction.Predict(request(example(), name=name), timeout=20)
    except grpc.RpcError:
        return False
    return True
