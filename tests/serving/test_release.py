"""Promotion, rollback, their record in ML Metadata, and the assignment of users to the canary."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from base.errors import ComponentError
from base.shared_names import MODELS_CONFIG
from components.pusher.release import Release, read_release, write_release
from components.pusher.rollout import Followers, Rollout
from components.pusher.versions_folder import VersionsFolder
from lineage.listing import run_lines
from metadata.reader import MetadataReader
from metadata.writer import MetadataWriter
from serving.release.ab_split import arm_of
from serving.release.follow import followed
from serving.release.record import record
from serving.release.switch import promote, rollback
from tests.serving.running_server import ROOT, flags_of, running, wait_for
from tests.serving.scorer import NAME


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / NAME
    for number in (1, 2, 3):
        (folder / str(number)).mkdir(parents=True)
    return folder


@pytest.fixture
def connection(tmp_path: Path) -> mlmd.ConnectionConfig:
    """Returns a connection to a new store."""
    made = mlmd.ConnectionConfig()
    made.sqlite.filename_uri = str(tmp_path / "metadata.sqlite")
    made.sqlite.connection_mode = 3
    return made


@pytest.mark.unit
def test_the_canary_becomes_stable(base: Path) -> None:
    write_release(base, Release(stable=2, previous=1, canary=3))
    switch = promote(base)
    assert (switch.kind, switch.after) == ("Promotion", Release(stable=3, previous=2))
    assert read_release(base) == switch.after
    with pytest.raises(ComponentError, match="no canary to promote: version 3 is live for all"):
        promote(base)


@pytest.mark.unit
def test_a_rollback_of_a_canary_keeps_the_stable_version(base: Path) -> None:
    write_release(base, Release(stable=2, previous=1, canary=3))
    switch = rollback(base, None, "worse")
    assert read_release(base) == Release(stable=2, previous=1)
    assert switch.withdrawn == {3: "worse"}
    assert VersionsFolder(base).withdrawn(3) == "worse"


@pytest.mark.unit
def test_rollbacks_go_back_one_version_at_a_time(base: Path) -> None:
    write_release(base, Release(stable=3, previous=2))
    rollout = Rollout(Followers(follow_seconds=0))
    assert rollback(base, None, "a", rollout=rollout).after == Release(stable=2, previous=1)
    assert rollback(base, None, "b", rollout=rollout).after == Release(stable=1)
    with pytest.raises(ComponentError, match="no version to go back to"):
        rollback(base, None, "c")
    # Any version may be named, also a withdrawn one.
    assert rollback(base, 3, "d", rollout=rollout).after == Release(stable=3, previous=1)
    assert VersionsFolder(base).withdrawn(3) is None


@pytest.mark.unit
def test_a_rollback_to_a_missing_version_is_rejected(base: Path, tmp_path: Path) -> None:
    write_release(base, Release(stable=3, previous=2))
    with pytest.raises(
        ComponentError, match=r"no version 9 in .*\. Name one of these with --to: 1, 2"
    ):
        rollback(base, 9, "")
    assert read_release(base) == Release(stable=3, previous=2)
    with pytest.raises(ComponentError, match="nothing was pushed"):
        rollback(tmp_path / "other", None, "")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ComponentError, match=r"no models\.config"):
        promote(tmp_path / "empty")


@pytest.mark.unit
def test_a_user_stays_in_an_arm_and_the_share_is_the_percentage() -> None:
    users = [f"u{number}" for number in range(20_000)]
    for percent in (0, 1, 10, 50, 100):
        canary = {user for user in users if arm_of(user, percent) == "canary"}
        assert len(canary) / len(users) == pytest.approx(percent / 100, abs=0.01)
    few, more = ({u for u in users if arm_of(u, p) == "canary"} for p in (10, 20))
    assert few < more
    other = {user for user in users if arm_of(user, 10, "other model") == "canary"}
    assert len(few & other) / len(few) == pytest.approx(0.1, abs=0.03)


@pytest.mark.unit
def test_lineage_shows_a_rollback(base: Path, connection: mlmd.ConnectionConfig) -> None:
    store = metadata_store.MetadataStore(connection)
    kind = mlmd.ArtifactType(name="PushedModel")
    pushed = mlmd.Artifact(type_id=store.put_artifact_type(kind), uri="/pushed")
    pushed.custom_properties["pushed_version"].string_value = "3"
    trained = mlmd.Artifact(type_id=store.put_artifact_type(mlmd.ArtifactType(name="Model")))
    artifact, model = store.put_artifacts([pushed, trained])
    pusher = store.put_execution_type(mlmd.ExecutionType(name="Pusher"))
    (push,) = store.put_executions([mlmd.Execution(type_id=pusher)])
    ways = [(model, mlmd.Event.INPUT), (artifact, mlmd.Event.OUTPUT)]
    store.put_events([mlmd.Event(execution_id=push, artifact_id=a, type=way) for a, way in ways])
    write_release(base, Release(stable=3, previous=2))
    rollout = Rollout(Followers(follow_seconds=0))
    execution = record(
        MetadataWriter(store, "the store", "ctr"),
        rollback(base, None, "log loss is up", rollout=rollout),
    )
    lineage = MetadataReader.from_connection_config(connection)
    found = lineage.execution(execution)
    assert found.component == "Rollback"
    assert found.state == "complete"
    assert found.properties["stable_before"] == 3
    assert found.properties["stable_after"] == 2
    assert found.properties["withdrawn_3"] == "log loss is up"
    assert found.inputs == {"before": (artifact,)}  # what it went back to was never pushed
    (line,) = run_lines(lineage)
    assert "-rollback-" in line.run_id
    # No later training starts from this model.
    (marked,) = store.get_artifacts_by_id([model])
    assert marked.custom_properties["withdrawn"].string_value == "log loss is up"


@pytest.mark.unit
def test_lineage_shows_the_rollback_of_a_canary(
    base: Path, connection: mlmd.ConnectionConfig
) -> None:
    store = metadata_store.MetadataStore(connection)
    kind = store.put_artifact_type(mlmd.ArtifactType(name="PushedModel"))
    pushed = {}
    for version in (2, 3):
        artifact = mlmd.Artifact(type_id=kind, uri=f"/{version}")
        artifact.custom_properties["pushed_version"].string_value = str(version)
        (pushed[version],) = store.put_artifacts([artifact])
    write_release(base, Release(stable=2, canary=3))
    execution = record(MetadataWriter(store, "the store", "ctr"), rollback(base, None, "worse"))
    found = MetadataReader.from_connection_config(connection).execution(execution)
    assert found.inputs == {"after": (pushed[2],), "withdrawn": (pushed[3],)}
    write_release(base, Release(stable=2, canary=3))
    execution = record(MetadataWriter(store, "the store", "ctr"), promote(base))
    found = MetadataReader.from_connection_config(connection).execution(execution)
    assert found.inputs == {"before": (pushed[2],), "after": (pushed[3],)}


@pytest.mark.component
def test_a_real_server_has_loaded_a_version_before_a_label_moves_to_it(
    scorers, tmp_path: Path
) -> None:
    base = tmp_path / NAME
    for number in (1, 2):
        shutil.copytree(scorers[number], base / str(number))
    (base / "3").mkdir()
    (base / "3" / "saved_model.pb").write_bytes(b"damaged")
    write_release(base, Release(1))
    with running(tmp_path, *flags_of(base)) as server:
        rollout = Rollout(Followers((f"127.0.0.1:{server.grpc_port}",), follow_seconds=1))
        before, text = Release(1), (base / MODELS_CONFIG).read_text()
        with pytest.raises(ComponentError, match=r"nothing was released: .*cannot load version 3"):
            rollout.release(base, before, Release(1, canary=3))
        assert (base / MODELS_CONFIG).read_text() == text
        wanted = Release(2, previous=1)
        assert rollout.release(base, before, wanted) == wanted
        assert server.states()[2] == "AVAILABLE"
        assert followed(NAME, wanted, [f"127.0.0.1:{server.grpc_port}"]) == {
            f"127.0.0.1:{server.grpc_port}": None
        }
        assert server.version(label="stable") == 2


CONFIG = """
name: {name}
application: applications.ctr
data_root: {folder}
schema: schemas/ctr.pbtxt
run_root: {folder}/runs
serving_root: {folder}
sources: {{logs: {{format: json, path: "*.json", columns: {{a: int}}}}}}
evaluator: {{label: clicked, prediction: probability}}
"""


@pytest.mark.component
def test_a_rollback_takes_two_seconds_and_fails_no_request(scorers, tmp_path: Path) -> None:
    base = tmp_path / NAME
    base.mkdir()
    for number in (1, 2, 3):
        shutil.copytree(scorers[number], base / str(number))
    write_release(base, Release(stable=3, previous=2))
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(name=NAME, folder=tmp_path))
    with running(tmp_path, *flags_of(base), "--poll-seconds", "1") as server:
        assert server.version(label="stable") == 3
        seen: list[tuple[float, int]] = []
        errors: list[grpc.RpcError] = []
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                try:
                    seen.append((time.monotonic(), server.version(label="stable")))
                except grpc.RpcError as error:
                    errors.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "serving", "rollback", "--config", str(config),
             "--server", f"127.0.0.1:{server.grpc_port}", "--reason", "bad"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        wait_for(lambda: seen[-1][1] == 2)
        stop.set()
        asking.join()
        assert errors == []
        effective = min(when for when, version in seen if version == 2) - started
        assert effective < 2 + 1  # two on an idle machine, as docs/serving.md says; here is a test
        assert [version for _, version in seen] == sorted((v for _, v in seen), reverse=True)
        assert "stable    3 -> 2" in done.stdout
        assert f"127.0.0.1:{server.grpc_port} followed within" in done.stdout
        assert "lineage show execution:" in done.stdout
        wait_for(lambda: server.states() == {3: "END", 2: "AVAILABLE", 1: "AVAILABLE"})
    VersionsFolder(base).withdraw(1, "")  # also without a reason
    write_release(base, Release(stable=2))
    again = subprocess.run(
        [sys.executable, "-m", "serving", "rollback", "--config", str(config)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert again.returncode == 1
    assert "there is no version to go back to" in again.stderr
    assert "Traceback" not in again.stderr
    listed = subprocess.run(
        [sys.executable, "-m", "serving", "versions", "--config", str(config)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "bad" in listed.stdout
