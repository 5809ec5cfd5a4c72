"""A push that is killed, at every step: what is served stays whole, and the next push mends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from components.pusher.release import Release, read_release
from components.pusher.versions_folder import VersionsFolder, digest

pytestmark = pytest.mark.unit

FILES = {"saved_model.pb": b"graph", "variables/variables.index": b"index", "assets/items": b"a\nb"}
ROOT = Path(__file__).parents[3]


def make_model(path: Path, name: str) -> Path:
    for file, content in FILES.items():
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        (path / file).write_bytes(content + name.encode())
    return path


def push(model: Path, base: Path, version: int, die_before: int = sys.maxsize) -> int:
    script = Path(__file__).with_name("pushing_process.py")
    arguments = [str(model), str(base), str(version), str(die_before)]
    command = [sys.executable, "-B", str(script), *arguments]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    return subprocess.run(command, check=False, env=environment).returncode


def assert_whole(folder: VersionsFolder, models: dict[int, Path]) -> None:
    for version in folder.versions():
        assert digest(folder.path(version)) == digest(models[version])


def test_killed_at_any_step_a_push_leaves_whole_versions(tmp_path: Path) -> None:
    models = {n: make_model(tmp_path / f"m{n}", f"model {n}") for n in (1, 2, 3)}
    step = 0
    while True:
        base = tmp_path / f"serving-{step}"
        folder = VersionsFolder(base)
        assert push(models[1], base, 1) == push(models[2], base, 2) == 0
        ended = push(models[3], base, 3, step)
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        assert_whole(folder, models)
        assert read_release(base) in (Release(2, previous=1), Release(3, previous=2))
        live = read_release(base)
        assert live is not None
        assert set(live.labels.values()) <= set(folder.versions())
        assert push(models[3], base, 3) == 0
        assert_whole(folder, models)
        assert folder.versions() == [2, 3]
        assert read_release(base) == Release(3, previous=2)
        assert sorted(p.name for p in base.iterdir()) == [".lock", "2", "3", "models.config"]
        step += 1
    assert step > 15


def test_pushes_at_the_same_time_wait_for_each_other(tmp_path: Path) -> None:
    models = [make_model(tmp_path / f"m{n}", f"model {n}") for n in range(4)]
    base, script = (
        tmp_path / "serving",
        Path(__file__).with_name("pushing_process.py"),
    )
    pushes = [
        subprocess.Popen(
            [sys.executable, "-B", str(script), str(model), str(base), str(number + 1), "-1"],
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        )
        for number, model in enumerate(models)
    ]
    assert [process.wait() for process in pushes] == [0] * 4
    release = read_release(base)
    assert release is not None
    assert {*VersionsFolder(base).versions()} == {4, *release.labels.values()}


def test_a_file_that_is_no_version_is_left_alone(tmp_path: Path) -> None:
    folder = VersionsFolder(tmp_path)
    (tmp_path / "12").write_text("a file")
    (tmp_path / "notes").mkdir()
    (tmp_path / "٣").mkdir()  # a digit, but not for TF Serving
    assert folder.versions() == []
