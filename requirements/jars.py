"""Brings the jars that Spark's sources and the development services need; `make jars` runs it.

Maven resolves what `jars/pom.xml` lists, in the profile of the installed pyspark, and every jar
is compared with the checksums committed beside it. Every failure is one line.

    python requirements/jars.py                    make jars/ what it should be
    python requirements/jars.py --spark            no services: for the image
    python requirements/jars.py --write-checksums  after a change of the pom, for every profile
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent / "jars"
POM = HERE / "pom.xml"
JARS = HERE.parent.parent / "jars"
SERVICES = {
    "kafka-server": "services/kafka",
    "hadoop-minicluster": "services/hadoop",
    "beam-spark-runner": "services/beam",
}
SPARKS = ("spark-3.5", "spark-4.1")


class JarsError(RuntimeError):
    """The jars cannot be brought; the text is one line that says why and what to do."""


def main() -> int:
    try:
        if sys.argv[1:] == ["--write-checksums"]:
            write_checksums()
        else:
            bring_jars({} if sys.argv[1:] == ["--spark"] else SERVICES)
    except JarsError as error:
        print(f"jars failed: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"jars failed: {error.strerror}: {error.filename}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\njars stopped: run make jars again", file=sys.stderr)
        return 130
    return 0


def bring_jars(services: Mapping[str, str]) -> None:
    """Makes jars/ hold what the pom says for this pyspark and the services, and nothing else."""
    spark = spark_profile()
    folders = {spark: "spark", **services}
    names = ", ".join([spark, *services])
    with only_one():
        if stamp_path().exists() and stamp_path().read_text() == stamp(folders):
            print(f"jars: {names} are in place")
            return
        started = time.monotonic()
        print(f"jars: Maven brings {names} into jars/", flush=True)
        stamp_path().unlink(missing_ok=True)
        sizes = [replace(JARS / folder, profile) for profile, folder in folders.items()]
        stamp_path().write_text(stamp(folders))
    mib = sum(sizes) / 2**20
    print(f"jars: {mib:.0f} MiB, checksums verified, {time.monotonic() - started:.0f} s")


def spark_profile() -> str:
    """Returns the pom's profile for the installed pyspark."""
    try:
        version = importlib.metadata.version("pyspark")
    except importlib.metadata.PackageNotFoundError:
        raise JarsError("no pyspark in this Python: run make setup, then make jars") from None
    profile = f"spark-{'.'.join(version.split('.')[:2])}"
    if profile not in SPARKS:
        raise JarsError(f"pyspark {version} has no profile in {POM.relative_to(JARS.parent)}")
    return profile


def stamp(folders: dict[str, str]) -> str:
    """Returns what jars/ is made from and what lies in it: it changes with either."""
    sources = {p: digest(p) for p in [POM, *(checksum_file(profile) for profile in folders)]}
    return json.dumps(
        {
            "sources": {path.name: value for path, value in sources.items()},
            "jars": {
                folder: sorted(
                    [jar.name, jar.stat().st_size] for jar in (JARS / folder).glob("*.jar")
                )
                for folder in folders.values()
            },
        }
    )


def stamp_path() -> Path:
    return JARS / ".installed"


@contextmanager
def only_one() -> Iterator[None]:
    JARS.mkdir(exist_ok=True)
    with (JARS / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def replace(folder: Path, profile: str) -> int:
    """Fills a folder with a profile's jars, verified, and returns their size in bytes.

    They are collected beside it and renamed: a folder is never half of one thing.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=JARS) as temporary:
        fresh = Path(temporary) / "jars"
        resolve(profile, fresh)
        verify(profile, fresh)
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    return sum(jar.stat().st_size for jar in folder.iterdir())


def resolve(profile: str, folder: Path) -> None:
    """Has Maven copy a profile's jars into a folder."""
    maven = shutil.which("mvn")
    if maven is None:
        raise JarsError("no mvn on the PATH: install Maven (apt-get install maven), then make jars")
    log = JARS / ".maven.log"
    options = ["--batch-mode", "--quiet", f"--file={POM}", f"--activate-profiles={profile}"]
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
    with log.open("w") as output:
        code = subprocess.run(
            [maven, *options, *goal],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ).returncode
    if code:
        errors = [line for line in log.read_text().splitlines() if "ERROR" in line]
        raise JarsError(f"Maven could not resolve {profile}: {first_cause(errors)} (all: {log})")


def first_cause(errors: list[str]) -> str:
    """Returns Maven's own account without the goal's name and the list of what it looked for."""
    text = errors[0].removeprefix("[ERROR] ") if errors else "it says nothing"
    return text.split("jars:pom:1: ")[-1][:300]


def verify(profile: str, folder: Path) -> None:
    """Compares a folder with a profile's committed checksums.

    Raises:
      JarsError: if a jar differs, is missing, or is one too many.
    """
    wanted = dict(line.split()[::-1] for line in checksum_file(profile).read_text().splitlines())
    found = {jar.name: digest(jar) for jar in folder.iterdir()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) == found.get(name):
            continue
        fault = "is not the jar it was" if name in wanted and name in found else "is missing"
        if name not in wanted:
            fault = "is not listed"
        raise JarsError(
            f"{profile}: {name} {fault}; after a change of the pom, renew "
            f"{checksum_file(profile).name} (python requirements/jars.py --write-checksums)"
        )


def write_checksums() -> None:
    """Resolves every profile and writes what came as what must come from now on."""
    for profile in [*SPARKS, *SERVICES]:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "jars"
            with only_one():
                resolve(profile, folder)
            lines = [f"{digest(jar)}  {jar.name}\n" for jar in sorted(folder.iterdir())]
        checksum_file(profile).write_text("".join(lines))
        print(f"jars: {checksum_file(profile).name}: {len(lines)} jars")


def checksum_file(profile: str) -> Path:
    return HERE / f"{profile}.sha256"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
