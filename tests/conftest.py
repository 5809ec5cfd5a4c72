"""Shared by every test: one environment, one Spark session."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from base import redaction
from dev_services.hdfs import Hdfs, hdfs
from dev_services.kafka import Kafka, kafka
from dev_services.mariadb import Mariadb, mariadb
from dev_services.postgresql import Postgresql, postgresql
from dev_services.redis_server import RedisServer, redis_server
from dev_services.s3 import S3, s3

ROOT = Path(__file__).resolve().parents[1]

# Before TensorFlow is imported anywhere: no GPU search, no banner, one Keras.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
# Spark's JVMs live for seconds here: what its second compiler would do for them comes too late.
os.environ.setdefault("SPARK_SUBMIT_OPTS", "-XX:TieredStopAtLevel=1")
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])
)


# How Debian's podman runs containers on a virtual machine such as ours; a user's own comes first.
os.environ.setdefault("CONTAINERS_CONF", str(ROOT / "tests" / "containers.conf"))


# A busy machine needs longer than hypothesis' 200 ms for an example; pytest's limit is enough.
hypothesis.settings.register_profile("ours", deadline=None)
hypothesis.settings.load_profile("ours")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A root file system alone can start no container and has no Go; tests that need one of them
    run outside of it, and the containers are that very Debian.
    """
    if "IN_DEBIAN13_ROOT" in os.environ:
        inside = [item for item in items if item.get_closest_marker("host")]
        config.hook.pytest_deselected(items=inside)
        items[:] = [item for item in items if item not in inside]


@pytest.fixture(autouse=True)
def _own_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test hides is not hidden in the next one."""
    monkeypatch.setattr(redaction, "_hidden", [])


@pytest.fixture(scope="session", autouse=True)
def _locks_of_nfs() -> Iterator[None]:
    """Linux lets any open file be locked; NFS, as fcntl's locks do, wants it open for that."""
    lock = fcntl.flock

    def strict(file: Any, operation: int) -> None:
        number = file if isinstance(file, int) else file.fileno()
        mode = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE
        unfit = os.O_RDONLY if operation & fcntl.LOCK_EX else os.O_WRONLY
        if operation & (fcntl.LOCK_EX | fcntl.LOCK_SH) and mode == unfit:
            raise OSError(errno.EBADF, "NFS: the file is not open for such a lock")
        lock(file, operation)

    fcntl.flock = strict
    yield
    fcntl.flock = lock


@pytest.fixture(scope="session")
def spark() -> Iterator[object]:
    """One Spark session for all tests that look at DataFrames, with a job's own settings."""
    from spark_io.jobs.session import spark_environment, spark_session

    os.environ.update(spark_environment())
    os.environ.update(S3(port=0).environment())  # the JVM reads the keys when it starts
    conf = {
        "spark.sql.shuffle.partitions": "2",
        "spark.driver.memory": "1g",
        # Compiling code for each query takes longer than these few rows; whole runs compile it.
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    }
    jars = (str(ROOT / "jars" / "spark" / "*.jar"),)
    with spark_session({"master": "local[2]", "conf": conf, "jars": jars}) as session:
        session.sparkContext.setLogLevel("ERROR")
        yield session


# The services: each starts when the first test asks for it, and serves all tests of the session.
# Tests share what is in it, so each takes a table, topic, folder or key of its own.


@pytest.fixture(scope="session")
def mariadb_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mariadb]:
    with mariadb(tmp_path_factory.mktemp("mariadb")) as service:
        yield service


@pytest.fixture(scope="session")
def postgresql_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgresql]:
    with postgresql(tmp_path_factory.mktemp("postgresql")) as service:
        yield service


@pytest.fixture(scope="session")
def kafka_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    with kafka(tmp_path_factory.mktemp("kafka")) as service:
        yield service


@pytest.fixture(scope="session")
def hdfs_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hdfs]:
    with hdfs(tmp_path_factory.mktemp("hdfs")) as service:
        yield service


@pytest.fixture(scope="session")
def redis_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as service:
        yield service


@pytest.fixture(scope="session")
def s3_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3(tmp_path_factory.mktemp("s3")) as service:
        yield service
