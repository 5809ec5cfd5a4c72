"""What became live is recorded, whoever was killed and whatever was locked in between."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from running_server import ROOT
from switching_process import BEFORE, REASON, check, new_pipeline

from components.errors import ComponentError
from components.pusher import intents, versions_folder
from components.pusher.release import Release, read_release
from components.pusher.versions_folder import VersionsFolder
from lineage.store import LineageStore
from pipeline.config import PipelineConfig
from serving.commands import main
from serving.release.switch import promote

pytestmark = pytest.mark.component


@pytest.mark.parametrize("action", ["promote", "rollback", "rollback_to", "push"])
def test_killed_at_any_step_everybody_agrees_afterwards(tmp_path: Path, action: str) -> None:
    script = Path(__file__).with_name("switching_process.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), action],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
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
    path = ROOT / "pipeline/configs/ctr.yaml"
    return CliRunner().invoke(main, [*arguments, "--config", str(path), *places])


def recorded(config: PipelineConfig) -> list[str]:
    store = LineageStore.sqlite(config.metadata_path)
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
    """By another process: SQLite's locks are those of a process."""
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
        assert "it is done, and not yet recorded" in done.output
        assert "worse [/x] \\x1b[31m" in done.output
        assert "\x1b" not in done.output
    assert read_release(config.serving_folder) == Release(2, previous=1)
    found = command(config, "versions")
    assert "recorded afterwards: " in found.output
    assert "worse [/x] \\x1b[31m" in found.output  # the withdrawn version's line
    assert recorded(config) == ["Rollback"]
    check(config, "rollback")


def test_what_is_unrecorded_is_recorded_before_something_else_is_done(
    config: PipelineConfig,
) -> None:
    promote(config.serving_folder)  # and whoever did it died before it could record it
    done = command(config, "rollback", "--reason", REASON)
    assert done.exit_code == 0, done.output
    assert recorded(config) == ["Rollback", "Promotion"]  # the newest run first
    assert read_release(config.serving_folder) == Release(2, previous=1)


def test_who_holds_the_folder_is_named_and_not_waited_for_without_end(
    config: PipelineConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(versions_folder, "_LOCK_SECONDS", 0.5)
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
    assert "push-abc.json is not as it was written" in done.output
    assert read_release(config.serving_folder) == BEFORE
