"""The services, used from Spark through the connectors of `make jars`, and gone afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from pyspark.sql import DataFrame, SparkSession

from dev_services import process
from dev_services.command import SERVICES, main
from dev_services.hdfs import Hdfs
from dev_services.kafka import Kafka
from dev_services.mariadb import Mariadb
from dev_services.postgresql import Postgresql
from dev_services.process import ServiceError, free_ports, last_lines, listens, running
from dev_services.s3 import S3

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
ROWS = [(1, "Anna", 2.5), (2, "Břetislav", None), (3, "", 0.0)]


@pytest.fixture
def people(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame(ROWS, "id int, name string, score double")


def rows(frame: DataFrame) -> list[tuple[object, ...]]:
    return sorted(tuple(row) for row in frame.collect())


@pytest.mark.parametrize("name", ["mariadb", "postgresql"])
def test_a_table_is_read_over_jdbc(
    people: DataFrame, spark, name: str, request: pytest.FixtureRequest
) -> None:
    service: Mariadb | Postgresql = request.getfixturevalue(f"{name}_service")
    login = {"user": service.user, "password": service.password, "driver": service.driver}
    people.write.jdbc(service.jdbc_url, "people", "overwrite", login)
    assert rows(spark.read.jdbc(service.jdbc_url, "people", properties=login)) == ROWS


@pytest.mark.parametrize("name", ["mariadb", "postgresql"])
def test_a_wrong_password_is_rejected(spark, name: str, request: pytest.FixtureRequest) -> None:
    service: Mariadb | Postgresql = request.getfixturevalue(f"{name}_service")
    login = {"user": service.user, "password": "wrong", "driver": service.driver}
    with pytest.raises(Exception, match=r"(?i)access denied|authentication failed"):
        spark.read.jdbc(service.jdbc_url, "people", properties=login)


def test_a_topic_is_read_from_kafka(people: DataFrame, spark, kafka_service: Kafka) -> None:
    options = {"kafka.bootstrap.servers": kafka_service.bootstrap_servers}
    people.selectExpr("cast(id as string) key", "name value").write.format("kafka").options(
        **options, topic="people"
    ).save()
    topic = spark.read.format("kafka").options(**options, subscribe="people").load()
    assert rows(topic.selectExpr("int(string(key))", "string(value)")) == [r[:2] for r in ROWS]


def test_a_topic_is_read_as_a_stream(
    people: DataFrame, spark, kafka_service: Kafka, tmp_path
) -> None:
    options = {"kafka.bootstrap.servers": kafka_service.bootstrap_servers}
    people.selectExpr("name value").write.format("kafka").options(**options, topic="stream").save()
    stream = spark.readStream.format("kafka").options(**options, subscribe="stream")
    query = (
        stream.option("startingOffsets", "earliest")
        .load()
        .selectExpr("string(value)")
        .writeStream.format("parquet")
        .option("checkpointLocation", str(tmp_path / "checkpoint"))
        .trigger(availableNow=True)
        .start(str(tmp_path / "rows"))
    )
    assert query.awaitTermination(120)
    assert rows(spark.read.parquet(str(tmp_path / "rows"))) == sorted((r[1],) for r in ROWS)


def test_files_are_read_from_hdfs(people: DataFrame, spark, hdfs_service: Hdfs) -> None:
    path = f"{hdfs_service.url}/people/{uuid.uuid4()}"
    people.write.parquet(path)
    assert rows(spark.read.parquet(path)) == ROWS


def test_files_are_read_from_s3(people: DataFrame, spark, s3_service: S3) -> None:
    settings = spark.sparkContext._jsc.hadoopConfiguration()
    for name, value in s3_service.spark_conf().items():
        settings.set(name.removeprefix("spark.hadoop."), value)
    path = f"{s3_service.url}/people/{uuid.uuid4()}"
    people.write.parquet(path)
    assert rows(spark.read.parquet(path)) == ROWS


def test_avro_files_are_read(people: DataFrame, spark, tmp_path: Path) -> None:
    people.write.format("avro").save(str(tmp_path / "people"))
    assert rows(spark.read.format("avro").load(str(tmp_path / "people"))) == ROWS


# Gone afterwards


def listening(processes: list[psutil.Process]) -> list[tuple[str, int]]:
    found = []
    for each in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # PostgreSQL has some that live briefly
            found += each.net_connections("inet")
    return [(c.laddr.ip, c.laddr.port) for c in found if c.status == psutil.CONN_LISTEN]


@pytest.mark.parametrize("name", SERVICES)
def test_it_listens_on_loopback_only_and_nothing_is_left(name: str, tmp_path: Path) -> None:
    before = set(psutil.Process().children(recursive=True))
    data_before = set(Path("/var/lib/postgresql").glob("dev-*"))
    service: Callable[[Path], AbstractContextManager[object]] = SERVICES[name]
    with service(tmp_path):
        started = list(set(psutil.Process().children(recursive=True)) - before)
        addresses = listening(started)
        assert addresses
        assert {address.removeprefix("::ffff:") for address, _ in addresses} == {"127.0.0.1"}
    assert not any(each.is_running() for each in started)
    assert not any(listens(port) for _, port in addresses)
    assert set(Path("/var/lib/postgresql").glob("dev-*")) <= data_before
    sockets = {path.stem.split("-")[-1] for path in Path("/tmp").glob("seaweedfs-*.sock")}
    assert sockets & {str(port) for _, port in addresses} == set()


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_is_left_when_the_starter_is_killed(name: str, tmp_path: Path) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-m", "dev_services", name],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert starter.stdout
    for line in starter.stdout:
        if "Ctrl-C" in line:
            break
    else:
        pytest.fail("it did not start")
    started = psutil.Process(starter.pid).children(recursive=True)
    assert started
    starter.kill()
    starter.wait()
    gone, alive = psutil.wait_procs(started, timeout=20)
    assert (len(gone), alive) == (len(started), [])


def test_the_command_stops_in_order_and_removes_its_data(tmp_path: Path) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-m", "dev_services", "mariadb"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert starter.stdout
    first = starter.stdout.readline()
    assert first.startswith("mariadb     mariadb --host=127.0.0.1 --port=")
    assert starter.stdout.readline().endswith("Ctrl-C stops everything and removes them\n")
    starter.send_signal(signal.SIGINT)
    assert starter.communicate(timeout=30)[0].split() == ["stopped"]
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_service_is_an_error() -> None:
    result = CliRunner().invoke(main, ["oracle"])
    assert result.exit_code == 2
    assert "no service oracle; there are mariadb, postgresql, kafka, hdfs, s3" in result.output


# Errors


def test_a_server_that_ends_at_once_shows_its_last_lines(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo first; echo no room on the disk; exit 3"]
    with (
        pytest.raises(ServiceError, match=r"Toy ended with 3:\n  first\n  no room on the disk$"),
        running("Toy", command, tmp_path / "log", lambda: False),
    ):
        pass


def test_a_server_that_does_not_get_ready_is_stopped(tmp_path: Path) -> None:
    started = time.monotonic()
    command = ["sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 600"]
    with (
        pytest.raises(ServiceError, match=r"Toy was not ready within 1 s:\n  \(its log is empty\)"),
        running("Toy", command, tmp_path / "log", lambda: False, within_seconds=1),
    ):
        pass
    assert time.monotonic() - started < 10
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_a_server_that_does_not_stop_is_killed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(process, "STOP_WITHIN_SECONDS", 0.5)
    command = ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"]
    log = tmp_path / "log"
    with running("Toy", command, log, lambda: "up" in log.read_text()) as server:
        pass
    assert server.returncode == -signal.SIGKILL


def test_only_the_end_of_a_log_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {n}\n" for n in range(100)))
    assert last_lines(log).splitlines() == [f"  line {n}" for n in range(85, 100)]


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServiceError, match="no oracled: install oracle"):
        process.find_program("oracled", "oracle")


def test_free_ports_differ() -> None:
    assert len(set(free_ports(20))) == 20
