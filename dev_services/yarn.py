"""Runs YARN: a ResourceManager and a NodeManager, with queues `default` and `ai-training`."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from dev_services.hdfs import LOGGING
from dev_services.java import java_command
from dev_services.process import LOOPBACK, free_ports, running

MEMORY_MB, CORES = 6144, 6
TRAINING, OTHERS = "ai-training", "default"
_SHARES = {TRAINING: 50, OTHERS: 50}  # per cent
_RESOURCE_MANAGER = "org.apache.hadoop.yarn.server.resourcemanager.ResourceManager"
_NODE_MANAGER = "org.apache.hadoop.yarn.server.nodemanager.NodeManager"
# Hadoop 3.3 uses classes that Java 17 does not open by default.
_OPENED = ("java.base/java.lang", "java.base/java.util", "java.base/java.net")


@dataclass(frozen=True)
class Yarn:
    """The addresses of a YARN cluster.

    Attributes:
      configuration: Folder for HADOOP_CONF_DIR.
      web: Address of its REST API.
    """

    configuration: Path
    web: str

    def environment(self) -> dict[str, str]:
        """Returns the variables for Spark with `master: yarn`."""
        return {"HADOOP_CONF_DIR": str(self.configuration)}

    def ask(self, path: str) -> dict[str, Any]:
        """Returns an answer of the REST API below /ws/v1/cluster.

        The minicluster's jar serializes its Java objects, which is not the documented JSON.
        """
        url = f"{self.web}/ws/v1/cluster/{path}"
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own server
            found: dict[str, Any] = json.load(answer)
        return found

    def memory_mb(self, queue: str) -> int:
        """Returns the memory in MB that a queue's applications use now."""
        queues = self.ask("scheduler")["schedulerInfo"]["queues"]["queueInfoList"]
        (found,) = [one for one in queues if one["queueName"] == queue]
        return int(found["resourcesUsed"]["memorySize"])


@contextmanager
def yarn(folder: Path, file_system: str) -> Iterator[Yarn]:
    """Runs a YARN cluster until the block ends.

    Args:
      folder: Existing folder for configuration, logs and containers.
      file_system: Address of an HDFS, to which Spark uploads files for its containers.
    """
    ports = free_ports(9)
    settings = folder / "conf"
    settings.mkdir()
    web = f"{LOOPBACK}:{ports[0]}"
    _write_xml(settings / "core-site.xml", {"fs.defaultFS": file_system})
    _write_xml(settings / "yarn-site.xml", _yarn_site(folder, web, ports[1:]))
    _write_xml(settings / "capacity-scheduler.xml", _capacity())
    (settings / "log4j.properties").write_text(LOGGING)
    found = Yarn(settings, f"http://{web}")
    opened = [f"--add-opens={package}=ALL-UNNAMED" for package in _OPENED]
    java, *options = java_command("hadoop")
    classes = options.index("-cp") + 1
    options[classes] = f"{settings}:{options[classes]}"
    with ExitStack() as stack:
        for name, service, ready in (
            ("YARN's ResourceManager", _RESOURCE_MANAGER, lambda: _answers(found, 0)),
            ("YARN's NodeManager", _NODE_MANAGER, lambda: _answers(found, 1)),
        ):
            log = folder / f"{service.rsplit('.', 1)[1]}.log"
            command = [java, *opened, *options, service]
            stack.enter_context(running(name, command, log, ready, folder=folder))
        yield found


def _answers(found: Yarn, nodes: int) -> bool:
    try:
        return int(found.ask("metrics")["activeNodes"]) >= nodes
    except (OSError, ValueError, KeyError):
        return False


def _yarn_site(folder: Path, web: str, ports: list[int]) -> dict[str, str]:
    names = ("", ".scheduler", ".resource-tracker", ".admin")
    manager = {
        f"yarn.resourcemanager{name}.address": f"{LOOPBACK}:{port}"
        for name, port in zip(names, ports[:4], strict=True)
    }
    services = ("", ".localizer", ".webapp", ".collector-service")
    node = {
        f"yarn.nodemanager{name}.address": f"{LOOPBACK}:{port}"
        for name, port in zip(services, ports[4:], strict=True)
    }
    return {
        **manager,
        **node,
        "yarn.resourcemanager.hostname": LOOPBACK,
        "yarn.nodemanager.hostname": LOOPBACK,
        "yarn.resourcemanager.webapp.address": web,
        "yarn.nodemanager.resource.memory-mb": str(MEMORY_MB),
        "yarn.nodemanager.resource.cpu-vcores": str(CORES),
        "yarn.scheduler.minimum-allocation-mb": "256",
        "yarn.nodemanager.local-dirs": str(folder / "local"),
        "yarn.nodemanager.log-dirs": str(folder / "containers"),
        "yarn.nodemanager.delete.debug-delay-sec": "3600",  # keeps the logs of containers
        "yarn.nodemanager.vmem-check-enabled": "false",
        "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": "99.9",
        "yarn.resourcemanager.scheduler.class": "org.apache.hadoop.yarn.server.resourcemanager."
        "scheduler.capacity.CapacityScheduler",
    }


def _capacity() -> dict[str, str]:
    prefix = "yarn.scheduler.capacity"
    found = {
        f"{prefix}.root.queues": ",".join(_SHARES),
        f"{prefix}.maximum-am-resource-percent": "0.5",
        f"{prefix}.resource-calculator": "org.apache.hadoop.yarn.util.resource."
        "DominantResourceCalculator",
    }
    for queue, share in _SHARES.items():
        found[f"{prefix}.root.{queue}.capacity"] = str(share)
        # Also the maximum: training must not take what others leave unused.
        found[f"{prefix}.root.{queue}.maximum-capacity"] = str(share)
    return found


def _write_xml(path: Path, settings: Mapping[str, str]) -> None:
    """Writes a Hadoop configuration file."""
    lines = [
        f"<property><name>{escape(name)}</name><value>{escape(value)}</value></property>"
        for name, value in settings.items()
    ]
    path.write_text("\n".join(["<configuration>", *lines, "</configuration>", ""]), "utf-8")
