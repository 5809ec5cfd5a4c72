"""A standalone Spark cluster on two addresses of this machine: Spark takes them for two hosts."""

from __future__ import annotations

import contextlib
import functools
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyspark

from spark_io.jobs.parent import child_environment
from tests.spark_io.job_runs import wait_until

HOSTS = ("127.0.0.1", "127.0.0.2")
REGISTERED = "Successfully registered with master"
START_SECONDS = 240  # for a JVM on a machine that does something else
MASTER, WORKER = "org.apache.spark.deploy.master.Master", "org.apache.spark.deploy.worker.Worker"


class Cluster:
    """A master, and a worker with two cores on each host.

    Args:
      folder: Of logs and of what the workers write.
      hidden: A folder that workers find empty, as on hosts that do not mount it; None for none.
        Needs root.
    """

    def __init__(self, folder: Path, hidden: Path | None = None):
        self._folder = folder
        self._elsewhere: list[str] = []
        if hidden is not None:
            mounted = 'mount -t tmpfs none "$0" && exec "$@"'
            self._elsewhere = [*_own_mounts(), "sh", "-c", mounted, str(hidden)]
        with socket.create_server((HOSTS[0], 0)) as free:
            port = free.getsockname()[1]
        self.url = f"spark://{HOSTS[0]}:{port}"
        at_any = ["--webui-port", "0"]
        self._started = [
            self._start("master", MASTER, "--host", HOSTS[0], "--port", f"{port}", *at_any)
        ]
        wait_until(lambda: answers(HOSTS[0], port), START_SECONDS)
        for host in HOSTS:
            room = ["--cores", "2", "--memory", "1g", "--work-dir", str(folder / host)]
            self._started.append(
                self._start(host, WORKER, "--host", host, *at_any, *room, self.url)
            )
        for host in HOSTS:
            log = folder / f"{host}.log"
            wait_until(functools.partial(_is_registered, log), START_SECONDS)

    def _start(self, name: str, service: str, *arguments: str) -> psutil.Popen:
        spark_class = Path(pyspark.__file__).parent / "bin" / "spark-class"
        with (self._folder / f"{name}.log").open("w") as log:
            command = [str(spark_class), service, *arguments]
            return psutil.Popen(
                [*self._elsewhere, *command] if service == WORKER else command,
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


def _own_mounts() -> list[str]:
    """Runs a command whose mounts nobody else sees; in a chroot they cannot be made private first,
    and there they are.
    """
    unshare = ["unshare", "--mount"]
    works = subprocess.run([*unshare, "true"], stderr=subprocess.DEVNULL, check=False)
    return unshare if works.returncode == 0 else [*unshare, "--propagation", "unchanged"]


def answers(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def two_hosts(folder: Path, hidden: Path | None = None) -> Iterator[Cluster]:
    """Starts them, and ends them; as Cluster."""
    folder.mkdir(parents=True)
    cluster = Cluster(folder, hidden)
    try:
        yield cluster
    finally:
        cluster.end()


def _is_registered(log: Path) -> bool:
    return REGISTERED in log.read_text()
