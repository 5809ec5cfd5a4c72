"""Java services: their jars of `make jars`, and the Java that runs them."""

from __future__ import annotations

from pathlib import Path

from dev_services.process import ServiceError
from spark_io.jobs.java import JavaNotFoundError, find_java

JARS = Path(__file__).resolve().parents[1] / "jars" / "services"


def java_command(name: str, heap: str = "256m") -> list[str]:
    """Returns the start of a command: Java, a small heap, and a service's jars as class path.

    Args:
      name: the folder of the jars below jars/services.
      heap: the most the heap may grow to, as in -Xmx.

    Raises:
      ServiceError: if there is no Java, or the jars are not there.
    """
    if not any((JARS / name).glob("*.jar")):
        raise ServiceError(f"no jars in {JARS / name}: run make jars")
    try:
        java = find_java().home / "bin" / "java"
    except JavaNotFoundError as error:
        raise ServiceError(str(error)) from None
    # The serial collector and one compiler tier: these start quickly and do little.
    options = [f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    return [str(java), *options, "-cp", f"{JARS / name}/*"]
