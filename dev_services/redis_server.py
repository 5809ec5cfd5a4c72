"""Runs Redis, from the Debian package redis-server."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dev_services.process import LOOPBACK, find_program, free_ports, running

PACKAGE = "redis-server (apt-get install redis-server)"


@dataclass(frozen=True)
class RedisServer:
    """The address and password of a Redis."""

    port: int
    password: str = field(default="redis-of-development", repr=False)
    host: str = LOOPBACK

    def connection(self) -> str:
        """Returns the command that connects from a terminal."""
        return f"REDISCLI_AUTH={self.password} redis-cli -h {self.host} -p {self.port}"


@contextmanager
def redis_server(folder: Path, port: int | None = None) -> Iterator[RedisServer]:
    """Runs a Redis in memory alone until the block ends; `folder` must exist.

    Args:
      folder: Folder of its log and settings.
      port: Port to listen on; by default a free one.
    """
    service = RedisServer(port=port or free_ports(1)[0])
    settings = folder / "redis.conf"
    # A file, since other users can read a command's arguments.
    settings.write_text(
        f"bind {LOOPBACK}\nport {service.port}\nrequirepass {service.password}\n"
        f"dir {folder}\nsave ''\nappendonly no\n".replace("''", '""')
    )
    settings.chmod(0o600)
    client = find_program("redis-cli", PACKAGE)
    asked = [client, "-h", LOOPBACK, "-p", str(service.port), "ping"]

    def ready() -> bool:
        answer = subprocess.run(
            asked,
            env={"REDISCLI_AUTH": service.password},
            check=False,
            capture_output=True,
            text=True,
        )
        return "PONG" in answer.stdout

    command = [find_program("redis-server", PACKAGE), str(settings)]
    with running("Redis", command, folder / "redis.log", ready):
        yield service
