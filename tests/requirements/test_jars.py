"""Jars: brought once, what they were, and no class twice on Spark's class path."""

from __future__ import annotations

import importlib.metadata
import re
import sys
import zipfile
from collections import defaultdict
from pathlib import Path

import pyspark
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "requirements"))

import jars

pytestmark = pytest.mark.unit

PROFILES = 1 + len(jars.SERVICES)  # one of Spark's and each service's

# Takes the folder out of its arguments, and puts there what a test says it resolves.
MAVEN = """#!/bin/sh
echo called >> {calls}
for argument; do case $argument in -DoutputDirectory=*) folder=${{argument#*=}};; esac; done
mkdir -p "$folder" && {script}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder of its own with the pom, no checksums yet, and no Maven on the PATH."""
    (tmp_path / "requirements" / "jars").mkdir(parents=True)
    (tmp_path / "requirements" / "jars" / "pom.xml").write_bytes(jars.POM.read_bytes())
    monkeypatch.setattr(jars, "HERE", tmp_path / "requirements" / "jars")
    monkeypatch.setattr(jars, "POM", tmp_path / "requirements" / "jars" / "pom.xml")
    monkeypatch.setattr(jars, "JARS", tmp_path / "jars")
    monkeypatch.setattr(sys, "argv", ["jars.py"])
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    for profile in (*jars.SPARKS, *jars.SERVICES):
        jars.checksum_file(profile).write_text("")
    return tmp_path


def maven(project: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = project / "bin" / "mvn"
    program.parent.mkdir(exist_ok=True)
    program.write_text(MAVEN.format(calls=project / "calls", script=script))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def calls(project: Path) -> int:
    return len((project / "calls").read_text().splitlines())


def test_brought_once(project, monkeypatch, capsys) -> None:
    maven(project, monkeypatch, "echo content > $folder/a.jar")
    for profile in (*jars.SPARKS, *jars.SERVICES):
        jars.checksum_file(profile).write_text(
            "434728a410a78f56fc1b5899c3593436e61ab0c731e9072d95e96db290205e53  a.jar\n"
        )
    assert jars.main() == 0
    assert calls(project) == PROFILES
    assert (project / "jars" / "spark" / "a.jar").read_text() == "content\n"
    assert jars.main() == 0
    assert calls(project) == PROFILES  # nothing changed: Maven is not asked
    assert capsys.readouterr().out.splitlines()[-1].endswith("are in place")


@pytest.mark.parametrize("change", ["pom", "jar"])
def test_a_change_brings_them_anew(project, monkeypatch, change: str) -> None:
    maven(project, monkeypatch, "true")
    assert jars.main() == 0
    if change == "pom":
        jars.POM.write_text(jars.POM.read_text() + "<!-- another -->")
    else:
        (project / "jars" / "spark" / "strange.jar").write_text("")
    assert jars.main() == 0
    assert calls(project) == 2 * PROFILES
    assert list((project / "jars" / "spark").iterdir()) == []


@pytest.mark.parametrize(
    ("listed", "fault"),
    [("", "a.jar is not listed"), ("0  a.jar", "is not the jar it was"), ("0  b.jar", "a.jar is")],
)
def test_another_jar_is_one_line(project, monkeypatch, capsys, listed: str, fault: str) -> None:
    maven(project, monkeypatch, "echo content > $folder/a.jar")
    jars.checksum_file(jars.spark_profile()).write_text(listed)
    assert jars.main() == 1
    error = capsys.readouterr().err
    assert fault in error
    assert error.count("\n") == 1
    assert not (project / "jars" / "spark").exists()


def test_no_maven_is_one_line(project, capsys) -> None:
    assert jars.main() == 1
    assert capsys.readouterr().err == (
        "jars failed: no mvn on the PATH: install Maven (apt-get install maven), then make jars\n"
    )


def test_what_maven_says_is_one_line(project, monkeypatch, capsys) -> None:
    maven(
        project,
        monkeypatch,
        "echo '[ERROR] Failed on project jars:pom:1: Could not find x:jar:9'; "
        "echo '[ERROR] To see more'; exit 1",
    )
    assert jars.main() == 1
    error = capsys.readouterr().err
    assert f"Maven could not resolve {jars.spark_profile()}: Could not find x:jar:9 (all: " in error
    assert error.count("\n") == 1


def test_a_spark_without_a_profile(project, monkeypatch, capsys) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "5.0.1")
    assert jars.main() == 1
    assert "pyspark 5.0.1 has no profile in requirements/jars/pom.xml" in capsys.readouterr().err


def test_every_profile_has_checksums_and_pinned_versions() -> None:
    pom = jars.POM.read_text()
    profiles = re.findall(r"<id>(.+)</id>", pom)
    assert profiles == [*jars.SPARKS, *jars.SERVICES]
    assert all(jars.checksum_file(profile).read_text().strip() for profile in profiles)
    assert set(re.findall(r"<version>([^<]*)", pom)) & {"LATEST", "RELEASE"} == set()
    assert not re.search(r"<version>[\[(]|SNAPSHOT", pom)


def test_no_class_is_twice_on_sparks_class_path() -> None:
    homes = defaultdict(set)
    for folder in (Path(pyspark.__file__).parent / "jars", jars.JARS / "spark"):
        for jar in folder.glob("*.jar"):
            with zipfile.ZipFile(jar) as archive:
                for name in archive.namelist():
                    if name.endswith(".class") and not name.startswith("META-INF"):
                        homes[name].add(jar)
    ours = {
        name: sorted(jar.name for jar in found)
        for name, found in homes.items()
        if len(found) > 1 and any(jar.parent == jars.JARS / "spark" for jar in found)
    }
    ours.pop("module-info.class", None)
    ours.pop("org/apache/spark/unused/UnusedStubClass.class", None)  # is in every jar of Spark
    assert ours == {}
    assert any(jar.parent == jars.JARS / "spark" for found in homes.values() for jar in found)
