"""Every release is recorded, even if a process was killed or the store was locked."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from base.errors import ComponentError
from base.shared_names import MODELS_CONFIG
from components.pusher import intents, versions_folder
from components.pusher.intents import PUSH, ROLLBACK, Intent, new_id
from components.pusher.release import Release, read_release, write_release
from components.pusher.versions_folder import VersionsFolder
from metadata import names
from metadata.connection import connection_config
from metadata.pushed_models import first_pushes
from metadata.reader import MetadataReader
from pipeline.config import PipelineConfig
from serving.commands import main
from serving.release import settle as settling
from serving.release.record import record_in
from serving.release.settle import settle
from serving.release.switch import promote, rollback
from tests.serving.running_server import ROOT
from tests.serving.switching_process import BEFORE, REASON, check, new_pipeline, push_4

pytestmark = pytest.mark.component


@pytest.mark.parametrize("action", ["promote", "rollback", "rollback_to", "push"])
def test_all_records_agree_after_a_kill_at_any_step(tmp_path: Path, action: str) -> None:
    script = Path(__file__).with_name("switching_process.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), action],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{action}: killed at" in done.stdout


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    return new_pipeline(tmp_path)


def command(config: PipelineConfig, *arguments: str) -> Result:
    places = [
        f"--set=run_root={config.run_folder.parent}",
        f"--set=serving_root={config.serving_folder.parent}",
        "--set=serving.follow_seconds=0.01",
    ]
    path = ROOT / "applications/ctr/configs/ctr.yaml"
    return CliRunner().invoke(main, [*arguments, "--config", str(path), *places])


def recorded(config: PipelineConfig) -> list[str]:
    store = MetadataReader.sqlite(config.metadata_path)
    return [execution.component for run in store.runs() for execution in run.components]


_LOCKS = """
import sqlite3, sys
store = sqlite3.connect(sys.argv[1])
store.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def locked_store(config: PipelineConfig) -> Iterator[None]:
    """Locks the store in another process, because SQLite's locks belong to a process."""
    other = subprocess.Popen(
        [sys.executable, "-c", _LOCKS, str(config.metadata_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert other.stdout is not None
    assert other.stdout.readline() == "locked\n"
    try:
        yield
    finally:
        other.communicate("")


def test_a_locked_store_loses_no_record(config: PipelineConfig) -> None:
    with locked_store(config):
        done = command(config, "rollback", "--reason", REASON)
        assert done.exit_code == 1
        assert "the release has changed but is not recorded yet" in done.output
        assert "worse [/x] \\x1b[31m" in done.output
        assert "\x1b" not in done.output
    assert read_release(config.serving_folder) == Release(2, previous=1)
    found = command(config, "versions")
    assert "recorded afterwards: " in found.output
    assert "worse [/x] \\x1b[31m" in found.output  # the withdrawn version's line
    assert recorded(config) == ["Rollback"]
    check(config, "rollback")


def test_an_unrecorded_switch_is_recorded_before_the_next_one(
    config: PipelineConfig,
) -> None:
    promote(config.serving_folder)  # and the process died before it could record it
    done = command(config, "rollback", "--reason", REASON)
    assert done.exit_code == 0, done.output
    assert recorded(config) == ["Rollback", "Promotion"]  # the newest run first
    assert read_release(config.serving_folder) == Release(2, previous=1)


def test_a_rollback_restores_a_lost_models_config(
    config: PipelineConfig,
) -> None:
    (config.serving_folder / MODELS_CONFIG).unlink()
    for arguments in (["promote"], ["rollback"], ["rollback", "--to", "9"]):
        done = command(config, *arguments)
        assert done.exit_code == 1
        assert "name the version to make live with `rollback --to`" in done.output
    shown = command(config, "versions")
    assert "it is unknown which version is live" in shown.output
    done = command(config, "rollback", "--to", "2", "--reason", REASON)
    assert done.exit_code == 0, done.output
    assert "reason: worse [/x] \\x1b[31m" in done.output
    store = metadata_store.MetadataStore(connection_config(config.metadata_connection))
    (execution,) = store.get_executions_by_type("serving.Rollback")
    assert execution.custom_properties["reason"].string_value == REASON
    assert read_release(config.serving_folder) == Release(2)
    assert recorded(config) == ["Rollback"]


def test_marks_stay_removed_if_models_config_is_lost_after_a_kill(
    config: PipelineConfig,
) -> None:
    base, folder = config.serving_folder, VersionsFolder(config.serving_folder)
    intent = Intent(new_id(ROLLBACK), ROLLBACK, BEFORE, Release(2, previous=1), {3: REASON})
    killed = pytest.raises(KeyboardInterrupt)
    with killed, folder.locked(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(intents, "_decide", lambda *_: None)  # leaves the intent as after a SIGKILL
        with intents.intended(folder, intent):
            write_release(base, Release(2, previous=1))
            raise KeyboardInterrupt
    (base / MODELS_CONFIG).unlink()
    with intents.locked(folder):
        pass
    assert folder.withdrawn(3) == REASON
    assert [one.id for one in intents.intents_of(base)] == [intent.id]


def test_recording_does_not_wait_for_a_push(config: PipelineConfig) -> None:
    promote(config.serving_folder)
    folder, ends = VersionsFolder(config.serving_folder), threading.Event()

    def hold() -> None:
        with folder.locked():
            ends.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    time.sleep(0.2)
    try:
        assert [one.kind for one in settle(config)] == ["Promotion"]
    finally:
        ends.set()
        thread.join()


def test_a_late_record_does_not_undo_newer_marks(config: PipelineConfig) -> None:
    base, store = (
        config.serving_folder,
        metadata_store.MetadataStore(connection_config(config.metadata_connection)),
    )
    kind = store.put_artifact_type(mlmd.ArtifactType(name="Model"))
    (model,) = store.put_artifacts([mlmd.Artifact(type_id=kind, uri="/models/3")])
    pusher = store.put_execution_type(mlmd.ExecutionType(name="Pusher"))
    (push,) = store.put_executions([mlmd.Execution(type_id=pusher)])
    ways = [
        (model, mlmd.Event.INPUT),
        (first_pushes(MetadataReader(store))[3].id, mlmd.Event.OUTPUT),
    ]
    store.put_events([mlmd.Event(execution_id=push, artifact_id=a, type=way) for a, way in ways])
    first = rollback(base, None, REASON)
    record_in(config, first)
    assert is_withdrawn(store, model)
    record_in(config, rollback(base, 3, "mended"))
    assert not is_withdrawn(store, model)
    record_in(config, first)  # by a slow process
    assert not is_withdrawn(store, model)
    assert len(recorded(config)) == 2


def is_withdrawn(store: metadata_store.MetadataStore, model: int) -> bool:
    (found,) = store.get_artifacts_by_id([model])
    return names.WITHDRAWN in found.custom_properties


@pytest.mark.parametrize("is_old", [False, True])
def test_a_rollback_before_its_push_is_recorded_marks_the_model(
    config: PipelineConfig, monkeypatch: pytest.MonkeyPatch, is_old: bool
) -> None:
    """Otherwise the next training would start from it."""
    store = metadata_store.MetadataStore(connection_config(config.metadata_connection))
    kind = store.put_artifact_type(mlmd.ArtifactType(name="Model"))
    found = mlmd.Artifact(type_id=kind, uri="/models/4", state=mlmd.Artifact.LIVE)
    (model,) = store.put_artifacts([found])
    push_4(config)
    record_in(config, rollback(config.serving_folder, None, REASON))
    assert is_withdrawn(store, model)
    if is_old:
        monkeypatch.setattr(settling, "TFX_RECORDING_TIME", dt.timedelta(0))
    assert len(settle(config)) == is_old
    assert is_withdrawn(store, model)
    assert len(intents.intents_of(config.serving_folder)) == (not is_old)
    if is_old:
        assert recorded(config) == ["Push", "Rollback"]


def test_a_second_push_of_a_version_is_told_from_the_first(
    config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "TFX_RECORDING_TIME", dt.timedelta(0))
    base, folder = config.serving_folder, VersionsFolder(config.serving_folder)
    wanted = Release(1, previous=2)
    pushed = {"version": "1", "model": "/models/1"}
    with intents.locked(folder):
        intent = Intent(new_id(PUSH), PUSH, BEFORE, wanted, pushed=pushed)
        with intents.intended(folder, intent) as done:
            write_release(base, wanted)
            done(wanted)
    assert [one.id for one in settle(config)] == [intent.id]
    assert recorded(config) == ["Push"]


def test_waiting_for_the_lock_ends_and_names_its_holder(
    config: PipelineConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(versions_folder, "LOCK_SECONDS", 0.5)
    folder, ends = VersionsFolder(config.serving_folder), threading.Event()

    def hold() -> None:
        with folder.locked():
            ends.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    time.sleep(0.2)
    try:
        held = pytest.raises(ComponentError, match=f"process {os.getpid()} on .* has held")
        with held, intents.locked(folder):
            pass
    finally:
        ends.set()
        thread.join()
    assert f"waiting for process {os.getpid()}" in caplog.text
    assert read_release(config.serving_folder) == BEFORE


def test_an_intent_that_cannot_be_read_is_named(config: PipelineConfig) -> None:
    place = config.serving_folder / ".intents"
    place.mkdir()
    (place / "20260101-000000-push-abc.json").write_text("{}")
    done = command(config, "promote")
    assert done.exit_code == 1
    assert "push-abc.json is damaged" in done.output
    assert read_release(config.serving_folder) == BEFORE
