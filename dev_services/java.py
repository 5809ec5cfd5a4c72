"""Finds Java and the jars of `make jars` for Java services."""

from __future__ import annotations

from pathlib import Path

from dev_services.process import ServiceError
from spark_io.jobs.java import JavaNotFoundError, find_java

JARS = Path(__file__).resolve().parents[1] / "jars" / "services"


def java_command(name: str, heap: str = "256m") -> list[str]:
    """Returns the start of a command: Java, a small heap, and a service's jars as class path.

    Args:
      name: Name of the folder with the jars, below jars/services.
      heap: Maximum size of the heap, as in -Xmx.

    Raises:
      ServiceError: Java or the jars are missing.
    """
    if not any((JARS / name).glob("*.jar")):
        raise ServiceError(f"no jars in {JARS / name}: run make jars")
    try:
        java = find_java().home / "bin" / "java"
    except JavaNotFoundError as error:
        raise ServiceError(str(error)) from None
    # The serial collector and one compiler tier suit small services that must start quickly.
    options = [f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    return [str(java), *options, "-cp", f"{JARS / name}/*"]
