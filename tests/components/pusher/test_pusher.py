"""Pushes by the executor: versions, releases, refusals."""

from __future__ import annotations

import base64
import dataclasses
import errno
import json
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tfx.dsl.components.base import base_executor
from tfx.proto import pusher_pb2
from tfx.types import Artifact, Channel, standard_artifacts
from tfx.utils import proto_utils

from base.errors import ComponentError
from base.shared_names import MODELS_CONFIG
from components.model_canary.requests import request_of, write_warm_up
from components.pusher import model_servers, rollout
from components.pusher.component import Pusher
from components.pusher.executor import PusherExecutor, followers_of
from components.pusher.model_servers import VersionState
from components.pusher.release import (
    Release,
    read_release,
    versions_named,
    write_release,
)
from components.pusher.rollout import Followers
from components.pusher.versions_folder import VersionsFolder

pytestmark = pytest.mark.component

NOBODY = Followers(follow_seconds=0)


def save_model(path: Path, factor: float) -> Path:
    """A SavedModel that multiplies."""

    class Scaled(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = tf.Variable(factor)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
        def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": x * self.factor}

    model = Scaled()
    tf.saved_model.save(model, str(path), signatures=model.serve)
    return path


@dataclasses.dataclass
class Pushing:
    """Executions of one Pusher."""

    root: Path
    release: str = "immediate"
    keep_versions: int = 5
    execution: int = 7
    followers: Followers = NOBODY

    @property
    def base(self) -> Path:
        return self.root / "serving" / "ctr"

    def model(self, factor: float) -> Path:
        artifact = self.root / f"model-{factor}"
        if not artifact.exists():
            save_model(artifact / "Format-Serving", factor)
        return artifact

    def push(self, factor: float, *, blessed: int = 1, extra: Path | None = None) -> Artifact:
        model, pushed = standard_artifacts.Model(), standard_artifacts.PushedModel()
        blessing = standard_artifacts.ModelBlessing()
        model.uri, blessing.uri = str(self.model(factor)), str(self.root / "blessing")
        blessing.set_int_custom_property("blessed", blessed)
        pushed.uri = str(self.root / "pushed" / str(self.execution))
        destination = pusher_pb2.PushDestination()
        destination.filesystem.base_directory = str(self.base)
        config = {
            "release": self.release,
            "keep_versions": self.keep_versions,
            "followers": dataclasses.asdict(self.followers),
        }
        inputs: dict[str, list[Artifact]] = {"model": [model], "model_blessing": [blessing]}
        if extra:
            infra = standard_artifacts.InfraBlessing()
            infra.uri = str(extra)
            infra.set_string_custom_property("blessing_status", "INFRA_BLESSED")
            infra.set_int_custom_property("blessed", 1)
            inputs["infra_blessing"] = [infra]
        context = base_executor.BaseExecutor.Context(
            tmp_dir=str(self.root), unique_id=str(self.execution)
        )
        PusherExecutor(context).Do(
            inputs,
            {"pushed_model": [pushed]},
            {
                "push_destination": proto_utils.proto_to_json(destination),
                "custom_config": json.dumps(config),
            },
        )
        self.execution += 10
        return pushed


@pytest.fixture
def pushing(tmp_path: Path) -> Pushing:
    return Pushing(tmp_path)


def properties(pushed: Artifact) -> dict[str, Any]:
    found = pushed.mlmd_artifact.custom_properties
    return {name: value.string_value or value.int_value for name, value in found.items()}


def test_a_version_has_the_number_of_the_execution(pushing: Pushing) -> None:
    pushed = properties(pushing.push(2.0))
    assert (pushed["pushed"], pushed["pushed_version"], pushed["release"]) == (1, "7", "stable")
    assert pushed["pushed_destination"] == str(pushing.base / "7")
    loaded = tf.saved_model.load(pushed["pushed_destination"])
    assert loaded.serve(tf.constant([3.0]))["y"].numpy() == [6.0]
    assert properties(pushing.push(3.0))["pushed_version"] == "17"


def test_the_same_model_is_one_version(pushing: Pushing) -> None:
    first, again = properties(pushing.push(2.0)), properties(pushing.push(2.0))
    assert again["pushed_version"] == first["pushed_version"]
    assert VersionsFolder(pushing.base).versions() == [7]


def test_a_new_metadata_store_does_not_number_below_the_old_one(pushing: Pushing) -> None:
    pushing.push(2.0)
    pushing.execution = 3
    assert properties(pushing.push(3.0))["pushed_version"] == "8"


def test_what_is_live_is_in_tf_servings_own_file(pushing: Pushing) -> None:
    for factor in (1.0, 2.0, 3.0):
        pushing.push(factor)
    assert read_release(pushing.base) == Release(stable=27, previous=17)
    text = (pushing.base / MODELS_CONFIG).read_text()
    assert "versions: 17" in text and "versions: 27" in text and 'name: "ctr"' in text


def test_a_canary_stands_beside_the_stable_version(pushing: Pushing) -> None:
    pushing.release = "canary"
    assert properties(pushing.push(1.0))["release"] == "stable"  # there is nothing else
    assert properties(pushing.push(2.0))["release"] == "canary"
    assert properties(pushing.push(3.0))["release"] == "canary"
    assert read_release(pushing.base) == Release(stable=7, canary=27)
    assert properties(pushing.push(1.0))["release"] == "stable"  # it keeps its place
    assert read_release(pushing.base) == Release(stable=7, canary=27)


def test_canaries_come_in_turn(pushing: Pushing) -> None:
    pushing.release = "canary_in_turn"
    pushing.push(1.0)
    assert properties(pushing.push(2.0))["release"] == "canary"
    assert properties(pushing.push(3.0))["pushed"] == 0
    assert VersionsFolder(pushing.base).versions() == [7, 17]
    assert properties(pushing.push(2.0))["release"] == "canary"  # the one that is being judged
    write_release(pushing.base, Release(stable=17, previous=7))
    assert properties(pushing.push(3.0))["release"] == "canary"


def test_old_versions_go_and_live_ones_stay(pushing: Pushing) -> None:
    pushing.keep_versions, pushing.release = 2, "canary"
    for factor in (1.0, 2.0, 3.0, 4.0):
        pushing.push(factor)
    assert VersionsFolder(pushing.base).versions() == [7, 27, 37]


def test_a_refused_model_is_not_pushed(pushing: Pushing) -> None:
    assert properties(pushing.push(1.0, blessed=0))["pushed"] == 0
    assert not pushing.base.exists()


def test_a_withdrawn_version_does_not_come_back_by_a_push(pushing: Pushing) -> None:
    pushing.push(1.0)
    pushing.push(2.0)
    VersionsFolder(pushing.base).withdraw(17, "log loss")
    before = read_release(pushing.base)
    assert properties(pushing.push(2.0))["pushed"] == 0
    assert read_release(pushing.base) == before


def warm_up_of(pushing: Pushing, *examples: bytes) -> Path:
    extra = pushing.root / "canary"
    request = request_of("ctr", examples)
    write_warm_up(extra / "assets.extra" / "tf_serving_warmup_requests", [request])
    return extra


def test_warm_up_requests_come_along_and_are_not_part_of_the_model(pushing: Pushing) -> None:
    extra = warm_up_of(pushing, b"requests")
    pushed = properties(pushing.push(1.0, extra=extra))
    made, published = (
        (folder / "assets.extra" / "tf_serving_warmup_requests").read_bytes()
        for folder in (extra, Path(pushed["pushed_destination"]))
    )
    assert published == made
    assert properties(pushing.push(1.0))["pushed_version"] == pushed["pushed_version"]


def test_a_probe_asks_what_the_version_was_warmed_up_with(pushing: Pushing) -> None:
    extra = warm_up_of(pushing, b"first", b"second")
    version = Path(properties(pushing.push(1.0, extra=extra))["pushed_destination"])
    body = json.loads((version / "assets.extra" / "probe.json").read_text())
    assert body == {"instances": [{"b64": base64.b64encode(b"first").decode()}]}
    other = Path(properties(pushing.push(2.0))["pushed_destination"])
    assert not (other / "assets.extra").exists()


class AServer:
    """Says that a version did not load, or that it did."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: str = ""):
        self.error, self.asked = error, 0
        monkeypatch.setattr(model_servers, "versions_of", self._states)

    def _states(
        self, servers: list[str], model: str, way: model_servers.ServerConnection
    ) -> dict[str, dict[int, VersionState]]:
        self.asked += 1
        state = VersionState("END", self.error) if self.error else VersionState("AVAILABLE")
        loading = {17: VersionState("LOADING")}  # at first
        return {servers[0]: loading if self.asked == 1 else dict.fromkeys((17, 27), state)}


def test_a_version_that_no_server_can_load_is_neither_live_nor_kept(
    pushing: Pushing, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushing.followers = Followers(("127.0.0.1:1",), follow_seconds=0.5)
    pushing.push(1.0)
    server = AServer(monkeypatch, "no such op: Quux")
    text = (pushing.base / MODELS_CONFIG).read_text()
    with pytest.raises(ComponentError, match=r"127\.0\.0\.1:1 cannot load version 17: no such op"):
        pushing.push(2.0)
    assert VersionsFolder(pushing.base).versions() == [7]
    assert (pushing.base / MODELS_CONFIG).read_text() == text
    server.error = ""
    pushing.execution = 27
    assert properties(pushing.push(2.0))["pushed_version"] == "27"
    assert read_release(pushing.base) == Release(27, previous=7)


def test_the_same_model_stays_if_it_cannot_be_loaded_again(
    pushing: Pushing, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushing.push(1.0)
    pushing.push(2.0)
    write_release(pushing.base, Release(7))
    pushing.followers = Followers(("127.0.0.1:1",), follow_seconds=0.5)
    AServer(monkeypatch, "out of memory")
    with pytest.raises(ComponentError, match="out of memory"):
        pushing.push(2.0)
    assert VersionsFolder(pushing.base).versions() == [7, 17]
    assert read_release(pushing.base) == Release(7)


@pytest.mark.parametrize("is_full_for_ever", [False, True])
@pytest.mark.parametrize("last", [1, 2])
def test_a_disk_that_fills_between_the_steps_leaves_no_file_that_names_a_removed_version(
    pushing: Pushing, monkeypatch: pytest.MonkeyPatch, last: int, is_full_for_ever: bool
) -> None:
    pushing.push(1.0)
    text, written = (pushing.base / MODELS_CONFIG).read_text(), 0

    def write_until_full(*arguments: Any, **options: Any) -> None:
        nonlocal written
        written += 1
        if written == last or (is_full_for_ever and written > last):
            raise OSError(errno.ENOSPC, "No space left on device")
        write_release(*arguments, **options)

    monkeypatch.setattr(rollout, "write_release", write_until_full)
    with pytest.raises(OSError, match="No space left"):
        pushing.push(2.0)
    assert read_release(pushing.base) == Release(7)
    assert versions_named(pushing.base) <= set(VersionsFolder(pushing.base).versions())
    if not is_full_for_ever:
        assert (pushing.base / MODELS_CONFIG).read_text() == text
        assert VersionsFolder(pushing.base).versions() == [7]
    monkeypatch.undo()
    pushing.push(2.0)
    now = read_release(pushing.base)
    assert now is not None
    assert now.previous == 7
    assert now.stable in VersionsFolder(pushing.base).versions()


def test_the_component_hands_on_whom_to_wait_for() -> None:
    model = Channel(standard_artifacts.Model)
    wanted = Followers(("pods:8500",), follow_seconds=10, load_seconds=600)
    for given in (wanted, Followers(), None):
        pusher = Pusher(model=model, base_directory="/served/ctr", followers=given)
        settings = json.loads(pusher.exec_properties["custom_config"])
        assert followers_of(settings) == (given or Followers())
        assert ("followers" in settings) == (given == wanted)


@pytest.mark.parametrize("damage", ["cut", "empty", "no model"])
def test_a_damaged_model_is_an_error_and_nothing_changes(pushing: Pushing, damage: str) -> None:
    pushing.push(1.0)
    exported = pushing.model(2.0) / "Format-Serving"
    if damage == "cut":
        (variables,) = exported.glob("variables/*.data-*")
        variables.write_bytes(variables.read_bytes()[:10])
    elif damage == "empty":
        (exported / "saved_model.pb").write_bytes(b"")
    else:
        (exported / "saved_model.pb").unlink()
    with pytest.raises(ComponentError, match="is not pushed"):
        pushing.push(2.0)
    assert VersionsFolder(pushing.base).versions() == [7]
    assert read_release(pushing.base) == Release(stable=7)


def test_a_model_without_the_signature_is_an_error(pushing: Pushing) -> None:
    exported = pushing.model(1.0) / "Format-Serving"
    tf.saved_model.save(tf.Module(), str(exported))
    with pytest.raises(ComponentError, match="no signature serving_default"):
        pushing.push(1.0)


@pytest.mark.parametrize("text", ["model_config_list {}", "hello", ""])
def test_a_spoilt_models_config_is_named(pushing: Pushing, text: str) -> None:
    pushing.push(1.0)
    (pushing.base / MODELS_CONFIG).write_text(text)
    with pytest.raises(ComponentError, match=r"models\.config is not as the Pusher writes it"):
        pushing.push(2.0)
