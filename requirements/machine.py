"""Which TFX line fits this machine, and which of its Pythons to use for it.

Standard library only, for any Python from 3.8 on.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

LOCKS = Path(__file__).resolve().parent


class SetupError(Exception):
    """A failure explained in one line: what is wrong, and what to install or do."""


@dataclass(frozen=True)
class Line:
    """One supported line of TFX, and what it installs on."""

    name: str
    pythons: tuple[tuple[int, int], ...]  # the preferred first
    glibc: tuple[int, int]  # the oldest that the lock's wheels accept
    spark: str

    @property
    def lock(self) -> Path:
        return LOCKS / f"tfx-{self.name}.txt"


LINES = (  # the preferred first
    Line("1.21", pythons=((3, 13), (3, 12), (3, 11)), glibc=(2, 39), spark="4.1"),
    Line("1.16", pythons=((3, 10),), glibc=(2, 28), spark="3.5"),
)


@dataclass(frozen=True)
class Interpreter:
    version: tuple[int, int, int]
    path: Path
    headers: bool  # whether Python.h is there, which compiling an extension needs


def choose(
    requested: str | None, glibc: tuple[int, int], interpreters: Iterable[Interpreter]
) -> tuple[Line, Interpreter]:
    """Returns the preferred line that fits (or the requested one) and the Python for it."""
    candidates = [line for line in LINES if requested in (None, line.name)]
    if not candidates:
        names = " or ".join(line.name for line in LINES)
        raise SetupError(f"TFX_LINE={requested} is unknown: it has to be {names}")
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise SetupError("TFX has packages for Linux on x86_64 only: use such a machine or image")
    found = {interpreter.version[:2]: interpreter for interpreter in interpreters}
    misfits = []
    for line in candidates:
        usable = [found[python] for python in line.pythons if python in found]
        if glibc < line.glibc:
            misfits.append(
                f"TFX {line.name} needs glibc {dotted(line.glibc)} or newer, and this system "
                f"has {dotted(glibc) if any(glibc) else 'none'}"
            )
        elif not usable:
            wanted = " or ".join(dotted(python) for python in sorted(line.pythons))
            have = ", ".join(dotted(python) for python in sorted(found)) or "none"
            misfits.append(
                f"TFX {line.name} needs Python {wanted}, and on PATH and in pyenv there is {have}"
                f": install it, for example with: pyenv install {dotted(line.pythons[-1])}"
            )
        else:
            return line, usable[0]
    if all(glibc < line.glibc for line in candidates):
        misfits.append("use a newer system, or make test-debian13 for the tests alone")
    raise SetupError("; ".join(misfits))


def glibc_version() -> tuple[int, int]:
    """Returns this system's glibc, (0, 0) where it has another C library."""
    try:
        name = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        name = " ".join(platform.libc_ver())
    match = re.match(r"glibc (\d+)\.(\d+)", name)
    return (int(match.group(1)), int(match.group(2))) if match else (0, 0)


def python_folders() -> list[Path]:
    """Returns where interpreters may lie: PATH, then pyenv's versions, which need not be on it."""
    on_path = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return on_path + sorted(pyenv.glob("versions/*/bin"))


def find_interpreters(folders: Iterable[Path]) -> list[Interpreter]:
    """Runs every python found and returns those that work, the first of each version.

    A name proves nothing: pyenv leaves launchers for versions it cannot start.
    """
    first_of_version: dict[tuple[int, int], Interpreter] = {}
    names = {f"python{dotted(python)}" for line in LINES for python in line.pythons}
    for folder in folders:
        for program in sorted(folder / name for name in names | {"python3"}):
            interpreter = ask_python(program) if os.access(program, os.X_OK) else None
            if interpreter:
                first_of_version.setdefault(interpreter.version[:2], interpreter)
    return list(first_of_version.values())


def ask_python(program: Path) -> Interpreter | None:
    """Returns what the interpreter says of itself, or None if it does not work.

    Inside a virtual environment it names the interpreter underneath, so that .venv, when it is
    active, is not made from itself.
    """
    question = (
        "import json, os, sys, sysconfig;"
        "underneath = os.path.join(sys.base_prefix, 'bin', 'python%d.%d' % sys.version_info[:2]);"
        "program = sys.executable if sys.prefix == sys.base_prefix else underneath;"
        "header = os.path.join(sysconfig.get_paths()['include'], 'Python.h');"
        "print(json.dumps([sys.version_info[:3], program, os.path.exists(header),"
        "sys.implementation.name]))"
    )
    answer = output_of([str(program), "-I", "-c", question])
    try:
        version, path, headers, implementation = json.loads(answer)
    except ValueError:
        return None
    return Interpreter(tuple(version), Path(path), headers) if implementation == "cpython" else None


def check_compiler(interpreter: Interpreter) -> None:
    """Both locks have one package that is compiled here: pyfarmhash, C++, which TFDV needs."""
    if not (os.environ.get("CXX") or shutil.which("g++")):
        raise SetupError("no C++ compiler for pyfarmhash: install g++ (Debian: apt install g++)")
    if not interpreter.headers:
        python = f"python{dotted(interpreter.version[:2])}"
        raise SetupError(f"no Python.h for {interpreter.path}: install {python}-dev")


def output_of(command: list[str]) -> str:
    """Returns a command's standard output, nothing if it fails."""
    try:
        process = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return process.stdout.strip() if process.returncode == 0 else ""


def dotted(version: Iterable[int]) -> str:
    return ".".join(map(str, version))
