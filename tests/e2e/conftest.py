"""Projects for a file of tests, and one run that several files share."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from typing import Any

import pytest

from tests.e2e.project import KEPT, Project, copy_of_the_project
from tests.e2e.small_data import ONE_PROCESS, SMALL


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return copy_of_the_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def after_a_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, Any]]:
    """A project, and the summary of its one run, for those who compare with it and leave it be.

    pytest's workers share it: who comes first makes it, the others wait. `copy_of_the_data` gives
    what they may change.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "after_a_run"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "summary.json").exists():
            shutil.rmtree(folder / "project", ignore_errors=True)
            project = copy_of_the_project(folder / "project")
            made = project.run("ctr", *SMALL, ONE_PROCESS)
            for name in KEPT:
                shutil.copytree(project.folder / name, folder / name, symlinks=True)
            (folder / "summary.json").write_text(json.dumps(made))
    return Project(folder / "project"), json.loads((folder / "summary.json").read_text())
