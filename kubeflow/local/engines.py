"""Runs a step's command in a process or in a podman container."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from base.errors import ComponentError
from kubeflow.local.steps import Step
from kubeflow.step import ENVIRONMENT, local_path

_GB = 10**9
IMAGE_USER = 1000  # user in the Containerfile


class Engine(Protocol):
    """The interface of an engine, which runs commands to their ends."""

    def check(self, steps: Sequence[Step]) -> None:
        """Raises ComponentError before the first step if a step cannot run."""

    def uri(self, path: Path) -> str:
        """Returns the URI that a step gets for an artifact at `path` on this machine."""

    def run(self, task: Task, command: Sequence[str]) -> int:
        """Runs a command; returns its exit status. Its output goes to the task's log."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A running step; all paths are on this machine.

    Attributes:
      step: Step of the pipeline.
      folder: Folder of its outputs.
      log: Log file.
      inputs: Paths of its input artifacts.
    """

    step: Step
    folder: Path
    log: Path
    inputs: Sequence[Path]


def _variables(steps: Sequence[Step]) -> None:
    for step in steps:
        for name in step.variables:
            if name not in os.environ:
                raise ComponentError(
                    f"{step.name}: the variable {name} is not set; in a cluster it comes from a "
                    "Secret, here from the environment"
                )


@dataclasses.dataclass(frozen=True)
class Process:
    """An engine that runs processes in the project's own environment; `python` is this Python.

    There is no bucket, so artifacts have paths of this machine instead of Kubeflow's URIs.

    Args:
      folder: Working directory, the project's root.
    """

    folder: Path

    def check(self, steps: Sequence[Step]) -> None:
        _variables(steps)

    def uri(self, path: Path) -> str:
        return str(path)

    def run(self, task: Task, command: Sequence[str]) -> int:
        program = sys.executable if command[0] in ("python", "python3") else command[0]
        with task.log.open("w", encoding="utf-8") as output:
            return _wait(
                subprocess.Popen(
                    [program, *command[1:]],
                    cwd=self.folder,
                    stdout=output,
                    stderr=output,
                    env={"CUDA_VISIBLE_DEVICES": "-1", **os.environ, **ENVIRONMENT},
                )
            )


@dataclasses.dataclass(frozen=True)
class Podman:
    """An engine that runs each step in a container of its own image.

    Artifacts have URIs in the pipeline's bucket. A step finds its inputs where Kubeflow's launcher
    would have copied them, cannot change them, and does not see other steps.

    Args:
      folder: Folder of the artifacts, in place of `root`.
      root: URI of the pipeline's artifacts.
      claims: Name of a PersistentVolumeClaim -> folder in its place.
    """

    folder: Path
    root: str
    claims: Mapping[str, Path]

    def uri(self, path: Path) -> str:
        return f"{self.root}/{path.relative_to(self.folder).as_posix()}"

    def check(self, steps: Sequence[Step]) -> None:
        if shutil.which("podman") is None:
            raise ComponentError("podman is missing; install it, or use --engine process")
        _variables(steps)
        for step in steps:
            for claim in step.mounts:
                if claim not in self.claims:
                    raise ComponentError(
                        f"{step.name} mounts the volume {claim}: say which folder takes its place "
                        f"by --claim {claim}=FOLDER"
                    )
        for image in {step.image for step in steps}:
            found = subprocess.run(["podman", "image", "exists", image], check=False)
            if found.returncode:
                raise ComponentError(
                    f"podman has no image {image}; build it as kubeflow/README.md says"
                )

    def run(self, task: Task, command: Sequence[str]) -> int:
        step = task.step
        mounts = {self.claims[c].resolve(): path for c, path in step.mounts.items()}
        mounts[task.folder] = local_path(self.uri(task.folder))
        # A bucket has no empty folders, so such an input is not there at all.
        there = [
            one for one in task.inputs if any(file.is_file() for file in (one, *one.rglob("*")))
        ]
        mounts |= {one: f"{local_path(self.uri(one))}:ro" for one in there}
        options = [f"--volume={source}:{path}" for source, path in mounts.items()]
        options.append(_user())
        options += [f"--env={name}" for name in step.variables]  # podman looks up the value
        if step.memory_gb:
            # The limit of memory and swap together is the same, so that a step cannot use swap.
            options += [f"--memory{swap}={int(step.memory_gb * _GB)}" for swap in ("", "-swap")]
        with task.log.open("w", encoding="utf-8") as output:
            return _wait(
                subprocess.Popen(
                    ["podman", "run", "--rm", "--network=none", *options, step.image, *command],
                    stdout=output,
                    stderr=output,
                )
            )


def _user() -> str:
    """Returns the option that gives a step's files to the user of this machine."""
    if os.geteuid() == 0:
        return "--user=0:0"
    return f"--userns=keep-id:uid={IMAGE_USER},gid={IMAGE_USER}"


def _wait(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait()
    except BaseException:  # for instance Ctrl-C
        process.send_signal(signal.SIGTERM)
        process.wait()
        raise
