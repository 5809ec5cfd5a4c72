"""What runs a step's command: a process of this machine, or a container of podman."""

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
IMAGE_USER = 1000  # of the Containerfile


class Engine(Protocol):
    """Runs a command to its end."""

    def check(self, steps: Sequence[Step]) -> None:
        """Raises a ComponentError if one of the steps cannot be run; before any is."""

    def uri(self, path: Path) -> str:
        """What a step is told of an artifact that lies at `path` on this machine."""

    def run(self, task: Task, command: Sequence[str]) -> int:
        """The exit status; what the command says goes to the task's log."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A step that is run.

    Attributes:
      step: of the pipeline.
      folder: of its outputs, on this machine.
      log: file, on this machine.
      inputs: where the artifacts that it takes lie on this machine.
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
    """A process, in the project's own environment; `python` is this Python.

    It sees no bucket, so artifacts have paths of this machine where Kubeflow gives URIs.

    Args:
      folder: that it runs in, the project's root.
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
    """A container of the step's own image, which is removed when it ends.

    Artifacts have URIs in the pipeline's bucket. A step finds its inputs where Kubeflow's launcher
    would have copied them, cannot change them, and sees nothing of other steps.

    Args:
      folder: of the artifacts; takes the place of `root`.
      root: URI, of the pipeline's artifacts.
      claims: name of a PersistentVolumeClaim -> the folder that takes its place.
    """

    folder: Path
    root: str
    claims: Mapping[str, Path]

    def uri(self, path: Path) -> str:
        return f"{self.root}/{path.relative_to(self.folder).as_posix()}"

    def check(self, steps: Sequence[Step]) -> None:
        if shutil.which("podman") is None:
            raise ComponentError("there is no podman; install it, or take --engine process")
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
            # The same for memory and swap together: a step is not to go on in swap.
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
    """What a step writes is to belong to who runs it, not to the image's user."""
    if os.geteuid() == 0:
        return "--user=0:0"
    return f"--userns=keep-id:uid={IMAGE_USER},gid={IMAGE_USER}"  # who runs it is that user inside


def _wait(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait()
    except BaseException:  # Ctrl-C, say
        process.send_signal(signal.SIGTERM)
        process.wait()
        raise
