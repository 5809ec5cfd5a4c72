"""Runs MariaDB, from the Debian package mariadb-server."""

from __future__ import annotations

import getpass
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dev_services.process import LOOPBACK, find_program, free_ports, run_tool, running

PACKAGE = "mariadb-server (apt-get install mariadb-server)"


@dataclass(frozen=True)
class Mariadb:
    """The address and credentials of a MariaDB; the user has all rights in the database."""

    port: int
    user: str = "shop"
    password: str = field(default="shop-of-development", repr=False)
    database: str = "shop"
    host: str = LOOPBACK

    driver = "org.mariadb.jdbc.Driver"

    @property
    def jdbc_url(self) -> str:
        """The JDBC address for Spark.

        It is jdbc:mysql, because Spark quotes names wrongly with jdbc:mariadb. MariaDB's driver
        accepts that only with permitMysqlScheme.
        """
        return f"jdbc:mysql://{self.host}:{self.port}/{self.database}?permitMysqlScheme"

    def connection(self) -> str:
        """Returns the command that connects from a terminal."""
        return (
            f"mariadb --host={self.host} --port={self.port} --user={self.user} "
            f"--password={self.password} {self.database}"
        )


@contextmanager
def mariadb(folder: Path) -> Iterator[Mariadb]:
    """Runs a MariaDB with its data in a folder, which must exist, until the block ends."""
    service = Mariadb(port=free_ports(1)[0])
    data, log = folder / "data", folder / "mariadb.log"
    server = find_program("mariadbd", PACKAGE)
    client = find_program("mariadb", PACKAGE)
    install = find_program("mariadb-install-db", PACKAGE)
    us = f"--user={getpass.getuser()}"
    run_tool(
        "MariaDB",
        [install, "--no-defaults", f"--datadir={data}", us, "--skip-test-db"],
        folder / "install.log",
    )
    # The socket's path is relative to the data, since it may have only 107 characters, and pytest's
    # folders take most of them.
    command = [
        *(server, "--no-defaults", f"--datadir={data}", us, "--socket=socket"),
        *(f"--bind-address={LOOPBACK}", f"--port={service.port}", f"--pid-file={folder}/pid"),
        *("--skip-name-resolve", "--innodb-buffer-pool-size=32M", "--performance-schema=OFF"),
    ]
    as_root = [client, "--no-defaults", "--socket=socket", us]

    def ready() -> bool:
        answer = subprocess.run(
            [*as_root, "-e", "select 1"], cwd=data, check=False, capture_output=True
        )
        return answer.returncode == 0

    with running("MariaDB", command, log, ready):
        subprocess.run([*as_root, "-e", accounts(service)], cwd=data, check=True)
        yield service


def accounts(service: Mariadb) -> str:
    """Returns the statements that make the database and its user."""
    user = f"'{service.user}'@'{LOOPBACK}'"
    return (
        f"create database {service.database} character set utf8mb4; "
        f"create user {user} identified by '{service.password}'; "
        f"grant all on {service.database}.* to {user}"
    )
