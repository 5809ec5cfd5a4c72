"""A standalone Spark cluster on two addresses of this machine: Spark takes them for two hosts."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyspark
from job_runs import wait_until

from components.spark_job.parent import child_environment

HOSTS = ("127.0.0.1", "127.0.0.2")
MASTER, WORKER = "org.apache.spark.deploy.master.Master", "org.apache.spark.deploy.worker.Worker"


class Cluster:
    """A master, and a worker with two cores on each host."""

    def __init__(self, folder: Path):
        self._folder = folder
        with socket.create_server((HOSTS[0], 0)) as free:
            port = free.getsockname()[1]
        self.url = f"spark://{HOSTS[0]}:{port}"
        at_any = ["--webui-port", "0"]
        self._started = [
            self._start("master", MASTER, "--host", HOSTS[0], "--port", f"{port}", *at_any)
        ]
        wait_until(lambda: answers(HOSTS[0], port))
        for host in HOSTS:
            room = ["--cores", "2", "--memory", "1g", "--work-dir", str(folder / host)]
            self._started.append(
                self._start(host, WORKER, "--host", host, *at_any, *room, self.url)
            )
        for host in HOSTS:
            log = folder / f"{host}.log"
            wait_until(lambda log=log: "Successfully registered with master" in log.read_text())

    def _start(self, name: str, service: str, *arguments: str) -> psutil.Popen:
        spark_class = Path(pyspark.__file__).parent / "bin" / "spark-class"
        with (self._folder / f"{name}.log").open("w") as log:
            return psutil.Popen(
                [str(spark_class), service, *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**child_environment(), "SPARK_DAEMON_MEMORY": "256m"},
            )

    def processes(self) -> list[psutil.Process]:
        """Masters, workers, executors and their Python processes."""
        found: list[psutil.Process] = []
        for process in self._started:
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [process, *process.children(recursive=True)]
        return found

    def end(self) -> None:
        processes = self.processes()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=15)


def answers(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def two_hosts(folder: Path) -> Iterator[Cluster]:
    folder.mkdir(parents=True)
    cluster = Cluster(folder)
    try:
        yield cluster
    finally:
        cluster.end()
