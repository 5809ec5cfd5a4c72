"""Runs Apache Kafka: broker and controller in one process, without ZooKeeper."""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from dev_services.java import java_command
from dev_services.process import LOOPBACK, free_ports, run_tool, running

LOGGING = """\
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%p %c: %m%n
rootLogger.level=WARN
rootLogger.appenderRef.out.ref=out
logger.start.name=kafka.server.KafkaRaftServer
logger.start.level=INFO
"""
_PATIENCE_S = 30
SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}
log.dirs={data}
# Sample records are years old; with the default, a broker would soon delete them.
log.retention.ms=-1
num.partitions=1
auto.create.topics.enable=true
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
"""


@dataclass(frozen=True)
class Kafka:
    """The address of a Kafka broker, which creates a topic at the first write."""

    port: int
    host: str = LOOPBACK

    @property
    def bootstrap_servers(self) -> str:
        """The address in Kafka's form."""
        return f"{self.host}:{self.port}"

    def connection(self) -> str:
        """Returns how to connect."""
        return f"bootstrap servers {self.bootstrap_servers}"


@contextmanager
def kafka(folder: Path) -> Iterator[Kafka]:
    """Runs a Kafka broker with its data in a folder, which must exist, until the block ends.

    On a folder that was used before, it restarts that broker with its port, topics and records.
    """
    settings, log = folder / "server.properties", folder / "kafka.log"
    logging = folder / "log4j2.properties"
    java = [*java_command("kafka"), f"-Dlog4j2.configurationFile={logging}"]
    if settings.exists():
        (port,) = re.findall(r"^listeners=PLAINTEXT://[^:]+:(\d+)", settings.read_text(), re.M)
    else:
        port = _format(folder, settings, logging, java)

    def ready() -> bool:
        # It listens before it leads its partitions; the log line comes after that.
        return "Kafka Server started" in log.read_text(errors="replace")

    with running("Kafka", [*java, "kafka.Kafka", str(settings)], log, ready):
        yield Kafka(int(port))


def create_topics(bootstrap_servers: str, topics: Iterable[str], partitions: int = 1) -> None:
    """Creates topics with a number of partitions, which the first write would not do."""
    client = AdminClient({"bootstrap.servers": bootstrap_servers})
    made = client.create_topics([NewTopic(topic, num_partitions=partitions) for topic in topics])
    for future in made.values():
        future.result(timeout=_PATIENCE_S)


def _format(folder: Path, settings: Path, logging: Path, java: list[str]) -> int:
    """Prepares the folder of a new broker, and returns its port."""
    port, controller = free_ports(2)
    settings.write_text(
        SETTINGS.format(host=LOOPBACK, port=port, controller=controller, data=folder / "data")
    )
    logging.write_text(LOGGING)
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    cluster_id = f"--cluster-id={cluster}"  # one word, because it may begin with a dash
    run_tool(
        "Kafka",
        [
            *(*java, "kafka.tools.StorageTool", "format"),
            *(cluster_id, "--config", str(settings)),
        ],
        folder / "format.log",
    )
    return port
