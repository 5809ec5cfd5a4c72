"""The set-up's decisions: which line, which Python, what is current, and its one-line errors."""

from __future__ import annotations

import errno
import fcntl
import json
import re
import sys
import venv
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "requirements"))

import install
import machine

pytestmark = pytest.mark.unit

BASE_PYTHON = Path(sys.base_prefix, "bin", "python{}.{}".format(*sys.version_info))


def python(*version: int, headers: bool = True) -> machine.Interpreter:
    major, minor, patch = version
    return machine.Interpreter((major, minor, patch), Path(f"/py/{major}.{minor}"), headers)


EVERY_PYTHON = [python(3, 9, 18), python(3, 10, 13), python(3, 12, 1), python(3, 11, 7)]


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


# Choosing the line


def test_the_newer_line_is_preferred_where_both_fit():
    line, interpreter = machine.choose(None, (2, 41), EVERY_PYTHON)
    assert (line.name, interpreter.version) == ("1.21", (3, 12, 1))


def test_an_older_glibc_gets_the_older_line():
    line, interpreter = machine.choose(None, (2, 36), EVERY_PYTHON)
    assert (line.name, interpreter.version) == ("1.16", (3, 10, 13))


def test_only_python_310_gets_the_older_line_even_on_a_new_glibc():
    assert machine.choose(None, (2, 41), [python(3, 10, 13)])[0].name == "1.16"


def test_the_requested_line_wins_over_the_preferred_one():
    assert machine.choose("1.16", (2, 41), EVERY_PYTHON)[0].name == "1.16"


@pytest.mark.parametrize(
    ("requested", "glibc", "interpreters", "words"),
    [
        ("1.20", (2, 41), EVERY_PYTHON, ["TFX_LINE=1.20", "1.21 or 1.16"]),
        ("1.21", (2, 36), EVERY_PYTHON, ["glibc 2.39", "has 2.36", "make test-debian13"]),
        ("1.16", (2, 36), [python(3, 12, 1)], ["Python 3.10", "there is 3.12", "pyenv install"]),
        (None, (2, 17), EVERY_PYTHON, ["glibc 2.39", "glibc 2.28", "has 2.17"]),
        (None, (0, 0), EVERY_PYTHON, ["glibc 2.28", "has none"]),
        (None, (2, 41), [], ["3.11 or 3.12 or 3.13", "Python 3.10", "there is none"]),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(requested, glibc, interpreters, words):
    with pytest.raises(machine.SetupError) as caught:
        machine.choose(requested, glibc, interpreters)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


# Finding interpreters


def test_a_launcher_that_fails_is_no_interpreter(tmp_path):
    program(tmp_path / "python3.10", 'echo "pyenv: python3.10: command not found" >&2; exit 127')
    program(tmp_path / "python3.11", "echo Python 3.11")
    assert machine.find_interpreters([tmp_path, tmp_path / "missing"]) == []


def test_an_interpreter_is_named_by_its_own_path_not_by_its_launchers(tmp_path):
    home = tmp_path / "home"
    program(home / "python3.10", f'exec {BASE_PYTHON} "$@"')
    (found,) = machine.find_interpreters([home])
    assert (found.version, found.path) == (sys.version_info[:3], BASE_PYTHON)


def test_an_active_virtual_environment_is_not_made_from_itself(tmp_path):
    venv.create(tmp_path, symlinks=True)
    (found,) = machine.find_interpreters([tmp_path / "bin"])
    assert found.path == BASE_PYTHON


def test_the_first_folder_wins(tmp_path):
    for folder in ("first", "second"):
        answer = json.dumps([[3, 12, 4], f"/{folder}/python", True, "cpython"])
        program(tmp_path / folder / "python3", f"echo '{answer}'")
    found = machine.find_interpreters([tmp_path / "first", tmp_path / "second"])
    assert [str(interpreter.path) for interpreter in found] == ["/first/python"]


def test_another_implementation_of_python_is_passed_over(tmp_path):
    answer = json.dumps([[3, 11, 4], "/pypy", True, "pypy"])
    program(tmp_path / "python3.11", f"echo '{answer}'")
    assert machine.find_interpreters([tmp_path]) == []


# The compiler


def test_no_compiler_names_gxx(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(machine.SetupError, match=r"install g\+\+"):
        machine.check_compiler(python(3, 13, 5))


def test_no_headers_name_the_dev_package(monkeypatch):
    monkeypatch.setenv("CXX", "g++")
    with pytest.raises(machine.SetupError, match=r"install python3\.13-dev"):
        machine.check_compiler(python(3, 13, 5, headers=False))


# What uv printed, in one line


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("error: failed to write\n cause: No space left on device (os error 28)", "disk is full"),
        ("error: Failed to fetch: `x`\n cause: dns error", "index cannot be reached"),
        ("error: Failed\n  cause: Hash mismatch for `x`", "not the locked one"),
        ("Resolved 3\nerror: something new\n more", "error: something new"),
        ("", "code 2"),
    ],
)
def test_a_failed_install_is_explained_in_one_line_with_the_logs_path(output, words):
    message = install.explain(output, 2)
    assert words in message
    assert ".venv-setup.log" in message
    assert "\n" not in message


def test_a_full_disk_of_our_own_is_explained():
    assert "disk is full" in install.explain_os_error(OSError(errno.ENOSPC, "No space left"))


def test_main_prints_one_line_and_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(install, "ROOT", tmp_path)
    monkeypatch.setattr(install, "set_up", raise_setup_error)
    assert install.main() == 1
    assert capsys.readouterr().err == "set-up failed: no Python\n"


def raise_setup_error(requested, image):
    raise install.SetupError("no Python")


# pip's settings, for uv


def test_uv_hears_of_the_mirror_and_certificate_that_pip_is_told(tmp_path):
    configuration = tmp_path / "pip.conf"
    configuration.write_text(
        "[global]\nindex-url = https://mirror.example/simple\ncert = /ca.pem\n"
    )
    settings = install.package_index_settings({"PIP_CERT": "/mine.pem"}, configuration)
    assert settings["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    assert settings["SSL_CERT_FILE"] == "/mine.pem"


def test_what_uv_was_told_itself_stays():
    told = {"UV_DEFAULT_INDEX": "https://a.example", "PIP_INDEX_URL": "https://b.example"}
    assert install.package_index_settings(told, None)["UV_DEFAULT_INDEX"] == "https://a.example"


# The stamp


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A finished environment: (its folder, its stamp)."""
    lock = tmp_path / "tfx-1.16.txt"
    lock.write_text("tfx==1.16.0")
    monkeypatch.setattr(install, "LOCKS", tmp_path)
    environment = tmp_path / ".venv"
    program(environment / "bin" / "python", "echo 1")
    program(tmp_path / "jvm" / "bin" / "java", "")
    install.write_stamp(
        environment, machine.LINES[1], python(3, 10, 13), [lock], str(tmp_path / "jvm")
    )
    stamp = install.read_stamp(environment)
    assert stamp is not None
    return environment, stamp


@pytest.mark.parametrize("requested", [None, "1.16"])
def test_a_finished_environment_is_current(installed, requested):
    environment, stamp = installed
    assert install.is_current(stamp, environment, requested)


def test_another_line_asked_for_is_not_current(installed):
    environment, stamp = installed
    assert not install.is_current(stamp, environment, "1.21")


@pytest.mark.parametrize("vanished", [".venv/bin/python", "jvm/bin/java", "tfx-1.16.txt"])
def test_a_vanished_part_is_not_current(installed, vanished):
    environment, stamp = installed
    (environment.parent / vanished).unlink()
    assert not install.is_current(stamp, environment, None)


def test_a_python_that_no_longer_starts_is_not_current(installed):
    environment, stamp = installed
    program(environment / "bin" / "python", "exit 127")
    assert not install.is_current(stamp, environment, None)


def test_a_changed_lock_is_not_current(installed):
    environment, stamp = installed
    (environment.parent / "tfx-1.16.txt").write_text("tfx==1.16.1")
    assert not install.is_current(stamp, environment, None)


def test_an_environment_without_a_stamp_was_never_finished(tmp_path):
    assert install.read_stamp(tmp_path) is None
    install.stamp_file(tmp_path).write_text('{"line": "1.1')
    assert install.read_stamp(tmp_path) is None


# One set-up at a time


def test_a_second_setup_waits_for_the_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(install, "ROOT", tmp_path)
    calls = []
    real_flock = fcntl.flock

    def flock(file, operation):
        calls.append(operation)
        if operation == fcntl.LOCK_EX | fcntl.LOCK_NB:
            raise BlockingIOError
        real_flock(file, operation)

    monkeypatch.setattr(install.fcntl, "flock", flock)
    with install.only_one_setup():
        assert calls[-1] == fcntl.LOCK_EX
    assert "waiting for another set-up" in capsys.readouterr().out


# The locks


@pytest.mark.parametrize("lock", sorted(machine.LOCKS.glob("*.txt")), ids=lambda lock: lock.name)
def test_every_locked_package_has_its_hash(lock):
    entries = re.split(r"^(?=[\w.-]+==)", lock.read_text(), flags=re.M)[1:]
    assert entries
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_every_line_has_its_lock():
    assert all(line.lock.is_file() for line in machine.LINES)
