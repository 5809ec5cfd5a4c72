"""A copy of the project in which a pipeline is run as a user runs it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.product import PACKAGES, ROOT, config_path

KEPT = ("data", "serving_models")  # as the shared run of conftest.py left them
PARTS = (*PACKAGES, "schemas", "requirements", "local_runner.py")


@dataclasses.dataclass(frozen=True)
class Project:
    """A folder with the project's code, where data and runs are made."""

    folder: Path

    def command(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Runs Python with these arguments in the project, and checks the exit code."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )
        assert done.returncode == code, f"{arguments}:\n{done.stdout}\n{done.stderr}"
        return done

    def run(self, config: str, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Runs a config; returns the run's summary, with what was printed as `output`."""
        path = config_path(config)
        done = self.command("local_runner.py", "--config", path, *arguments, code=code)
        summaries = sorted((self.folder / "runs" / config / "runs").glob("*/run_summary.json"))
        summary: dict[str, Any] = json.loads(summaries[-1].read_text())
        return {**summary, "output": done.stdout + done.stderr}

    @contextlib.contextmanager
    def served(self, *arguments: str) -> Iterator[str]:
        """Serves what was pushed; yields host:port of gRPC."""
        ports = self.folder / "ports.json"
        command = [sys.executable, "-m", "serving", "serve", *arguments, "--port", "0"]
        command += ["--rest-api-port", "0", "--port-file", str(ports)]
        with subprocess.Popen(command, cwd=self.folder) as process:
            try:
                until = time.monotonic() + 120
                while not ports.exists():
                    assert process.poll() is None
                    assert time.monotonic() < until
                    time.sleep(0.1)
                yield f"127.0.0.1:{json.loads(ports.read_text())['grpc']}"
            finally:
                process.terminate()
                assert process.wait(timeout=60) == 0
                ports.unlink(missing_ok=True)


def copy_of_the_project(folder: Path) -> Project:
    folder.mkdir(exist_ok=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / part, ignore=ignored)
        else:
            shutil.copy(source, folder / part)
    return Project(folder)


def copy_of_the_data(after_a_run: Project, folder: Path) -> Path:
    """Copies data and served models, as the shared run left them, into a folder; returns it."""
    for name in KEPT:
        shutil.copytree(after_a_run.folder.parent / name, folder / name, symlinks=True)
    return folder
