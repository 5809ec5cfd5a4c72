"""Runs PostgreSQL, from the Debian package postgresql."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dev_services.process import (
    LOOPBACK,
    ServiceError,
    find_program,
    free_ports,
    run_tool,
    running,
)

PACKAGE = "postgresql (apt-get install postgresql)"
SERVER_USER = "postgres"


@dataclass(frozen=True)
class Postgresql:
    """The address and credentials of a PostgreSQL; the user owns the server."""

    port: int
    user: str = "shop"
    password: str = field(default="shop-of-development", repr=False)
    database: str = "shop"
    host: str = LOOPBACK

    driver = "org.postgresql.Driver"

    @property
    def jdbc_url(self) -> str:
        """The JDBC address for Spark."""
        return f"jdbc:postgresql://{self.host}:{self.port}/{self.database}"

    def connection(self) -> str:
        """Returns the command that connects from a terminal."""
        return (
            f"psql postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{self.database}"
        )


@contextmanager
def postgresql(folder: Path) -> Iterator[Postgresql]:
    """Runs a PostgreSQL with its data in a folder, which must exist, until the block ends.

    PostgreSQL refuses to run as root, so for root it runs as the user postgres. That user cannot
    enter root's folders, so the data is then below its home, and only the log is in the folder.
    """
    service = Postgresql(port=free_ports(1)[0])
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: -int(p.parent.name))
    initdb = find_program("initdb", PACKAGE, programs)
    server = find_program("postgres", PACKAGE, programs)
    ready_check = find_program("pg_isready", PACKAGE, programs)
    createdb = find_program("createdb", PACKAGE, programs)
    with data_folder(folder) as (data, prefix):
        passwords = data.parent / "password"
        passwords.touch(mode=0o600)
        passwords.write_text(service.password)
        if prefix:
            shutil.chown(passwords, SERVER_USER)
        run_tool(
            "PostgreSQL",
            [
                *(*prefix, initdb, f"--pgdata={data}", f"--username={service.user}", "--no-sync"),
                *(f"--pwfile={passwords}", "--auth=scram-sha-256", "--encoding=UTF8"),
                "--locale=C.UTF-8",
            ],
            folder / "install.log",
        )
        command = [
            *(*prefix, server, "-D", str(data), "-p", str(service.port), "-h", LOOPBACK),
            *("-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "shared_buffers=32MB"),
        ]
        address = ["--host", LOOPBACK, "--port", str(service.port), "--username", service.user]

        def ready() -> bool:
            answer = subprocess.run([ready_check, *address], check=False, capture_output=True)
            return answer.returncode == 0

        with running("PostgreSQL", command, folder / "postgresql.log", ready, ask=signal.SIGINT):
            subprocess.run(
                [createdb, *address, service.database],
                check=True,
                env={**os.environ, "PGPASSWORD": service.password},
            )
            yield service


@contextmanager
def data_folder(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yields the data's folder, and the command prefix that runs as the right user."""
    if os.geteuid() != 0:
        yield folder / "data", []
        return
    try:
        home = Path(pwd.getpwnam(SERVER_USER).pw_dir)
    except KeyError:
        raise ServiceError(f"no user {SERVER_USER}: install {PACKAGE}") from None
    remove_left_over(home)
    with tempfile.TemporaryDirectory(prefix=f"dev-{os.getpid()}-", dir=home) as own:
        shutil.chown(own, SERVER_USER)
        prefix = [
            *("setpriv", f"--reuid={SERVER_USER}", f"--regid={SERVER_USER}", "--init-groups"),
            # A change of user drops the death signal that running() set, so it is set again.
            *("--pdeathsig", "KILL", "--"),
        ]
        yield Path(own) / "data", prefix


def remove_left_over(home: Path) -> None:
    """Removes the data of killed processes, which could not do it themselves."""
    for folder in home.glob("dev-*-*"):
        if not Path("/proc", folder.name.split("-")[1]).exists():
            shutil.rmtree(folder, ignore_errors=True)
