"""Runs HDFS: NameNode and DataNode in one process, as in Hadoop's own tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dev_services.java import java_command
from dev_services.process import LOOPBACK, free_ports, running

LOGGING = """\
log4j.rootLogger=WARN, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%p %c: %m%n
"""


@dataclass(frozen=True)
class Hdfs:
    """The address of an HDFS."""

    port: int
    host: str = LOOPBACK

    @property
    def url(self) -> str:
        """The address of the root, without a trailing slash."""
        return f"hdfs://{self.host}:{self.port}"

    def connection(self) -> str:
        """Returns how to connect."""
        return self.url


@contextmanager
def hdfs(folder: Path) -> Iterator[Hdfs]:
    """Runs an HDFS with its data in a folder, which must exist, until the block ends."""
    port, web = free_ports(2)
    logging, started = folder / "log4j.properties", folder / "started.json"
    logging.write_text(LOGGING)
    command = [
        *java_command("hadoop"),
        f"-Dlog4j.configuration=file:{logging}",
        "org.apache.hadoop.test.MiniDFSClusterManager",
        *("-format", "-datanodes", "1", "-nnport", str(port), "-httpport", str(web)),
        *("-D", f"hdfs.minidfs.basedir={folder / 'data'}"),
        # Any user may write anywhere, as on a development cluster.
        *("-D", "dfs.permissions.enabled=false"),
        *("-writeDetails", str(started)),
    ]
    with running("HDFS", command, folder / "hdfs.log", started.exists, folder=folder):
        yield Hdfs(port)
