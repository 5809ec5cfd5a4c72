"""An environment of its own holds what its lock lists, and is made once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "requirements"))

import install
import own_environment

pytestmark = pytest.mark.component


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of locks, in a project of its own; the tool is that of this project."""
    uv = install.find_uv() or install.bring_uv(own_environment.this_python())
    monkeypatch.setattr(install, "find_uv", lambda: uv)
    for module in (install, own_environment):
        monkeypatch.setattr(module, "ROOT", tmp_path)
        monkeypatch.setattr(module, "LOCKS", tmp_path)
    monkeypatch.setattr(own_environment, "find_uv", lambda: uv)
    (tmp_path / "build.txt").touch()
    return tmp_path


def test_it_is_made_once_and_again_for_another_lock(locks: Path) -> None:
    (locks / "peer.txt").write_text("")
    python = own_environment.make("peer")
    assert subprocess.run([python, "-c", "import yaml"], capture_output=True).returncode
    (marker := locks / ".venv-peer" / "marker").touch()
    assert own_environment.make("peer") == python
    assert marker.exists()
    (locks / "peer.txt").write_text("# another\n")
    own_environment.make("peer")
    assert not marker.exists()


def test_an_environment_that_was_not_finished_is_made_anew(locks: Path) -> None:
    (locks / "peer.txt").write_text("no-such-package==0\n")
    with pytest.raises(own_environment.SetupError, match="all of it: "):
        own_environment.make("peer")
    (locks / "peer.txt").write_text("")
    assert os.access(own_environment.make("peer"), os.X_OK)
