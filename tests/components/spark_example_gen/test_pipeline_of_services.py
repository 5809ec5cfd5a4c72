"""A TFX pipeline that reads from Kafka, MariaDB and S3: driver, cache, manifest, and no secret.

Every secret that the sources use is looked for in everything that a run leaves behind.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from click.testing import CliRunner
from ml_metadata import metadata_store
from pyspark.sql import SparkSession
from tfx.components import StatisticsGen
from tfx.orchestration import metadata
from tfx.orchestration.beam.beam_dag_runner import BeamDagRunner
from tfx.orchestration.pipeline import Pipeline

from components.spark_example_gen import (
    FileSource,
    JdbcSource,
    KafkaSource,
    SparkConfig,
    SparkExampleGen,
)
from tests.listening import beyond_loopback, listening_now
from tests.spark_io.readings import COLUMNS, reading

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[3]
JAAS = "org.apache.kafka.common.security.plain.PlainLoginModule required password='kafka-secret';"
COMPLETE, CACHED = 3, 5


class Shop:
    """Readings in Kafka, sensors in MariaDB, rooms on S3."""

    def __init__(self, spark: SparkSession, kafka: Any, mariadb: Any, s3: Any):
        self.spark, self.kafka, self.mariadb, self.s3 = spark, kafka, mariadb, s3
        self.secrets = [mariadb.password, s3.secret_key, "kafka-secret"]
        self.environment = {"SHOP_DB": mariadb.password, "SHOP_JAAS": JAAS, **s3.environment()}
        self.write_sensors(5)
        rooms = spark.createDataFrame(
            [(f"s{n}", f"room {n}") for n in range(5)], ["sensor", "room"]
        )
        conf = spark._jsc.hadoopConfiguration()  # type: ignore[attr-defined]
        for key, value in s3.spark_conf().items():
            conf.set(key.removeprefix("spark.hadoop."), value)
        rooms.coalesce(1).write.mode("overwrite").parquet(f"{s3.url}/rooms")
        self.produce(range(40))

    def write_sensors(self, count: int) -> None:
        rows = self.spark.createDataFrame([(f"s{n}", n) for n in range(count)], ["sensor", "floor"])
        options = {
            "url": self.mariadb.jdbc_url,
            "driver": self.mariadb.driver,
            "user": self.mariadb.user,
            "password": self.mariadb.password,
            "dbtable": "shop_sensors",
        }
        rows.write.format("jdbc").options(**options).mode("overwrite").save()

    def produce(self, numbers: Any) -> None:
        rows = self.spark.createDataFrame([(json.dumps(reading(n)),) for n in numbers], ["value"])
        options = {"kafka.bootstrap.servers": self.kafka.bootstrap_servers, "topic": "shop"}
        rows.coalesce(1).write.format("kafka").options(**options).save()

    def sources(self) -> dict[str, Any]:
        return {
            "readings": KafkaSource(
                self.kafka.bootstrap_servers,
                "shop",
                COLUMNS,
                options={"kafka.security.protocol": "PLAINTEXT"},
                options_env={"kafka.sasl.jaas.config": "SHOP_JAAS"},
            ),
            "sensors": JdbcSource(
                "shop_sensors",
                url=self.mariadb.jdbc_url,
                user=self.mariadb.user,
                password_env="SHOP_DB",
            ),
            "rooms": FileSource("parquet", f"{self.s3.url}/rooms/*.parquet"),
        }


@pytest.fixture
def shop(spark: SparkSession, kafka_service, mariadb_service, s3_service, monkeypatch) -> Shop:
    shop = Shop(spark, kafka_service, mariadb_service, s3_service)
    for name, value in shop.environment.items():
        monkeypatch.setenv(name, value)
    return shop


def pipeline(shop: Shop, folder: Path) -> Pipeline:
    example_gen = SparkExampleGen(
        "/nowhere",
        shop.sources(),
        etl="tests.spark_io.sensor_etl.with_rooms",
        spark=SparkConfig("local[2]", shop.s3.spark_conf(), (str(ROOT / "jars/spark/*.jar"),)),
    )
    return Pipeline(
        pipeline_name="services",
        pipeline_root=str(folder / "root"),
        components=[example_gen, StatisticsGen(examples=example_gen.outputs["examples"])],
        enable_cache=True,
        metadata_connection_config=connection(folder),
    )


def connection(folder: Path) -> Any:
    return metadata.sqlite_metadata_connection_config(str(folder / "mlmd.sqlite"))


def states(folder: Path) -> list[int]:
    store = metadata_store.MetadataStore(connection(folder))
    types = {t.id: t.name for t in store.get_execution_types()}
    ours = [e for e in store.get_executions() if "SparkExampleGen" in types[e.type_id]]
    return [e.last_known_state for e in sorted(ours, key=lambda e: e.id)]


class CommandLines(threading.Thread):
    """Every command line and environment-free detail that `ps` shows of our children."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[str] = set()
        self.going = True

    def run(self) -> None:
        while self.going:
            for child in psutil.Process().children(recursive=True):
                try:
                    self.seen.add(" ".join(child.cmdline()))
                except psutil.Error:
                    continue
            time.sleep(0.2)


def test_runs_are_cached_until_something_changes_and_no_secret_is_left(
    shop: Shop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watcher = CommandLines()
    watcher.start()
    with caplog.at_level(logging.DEBUG):
        BeamDagRunner().run(pipeline(shop, tmp_path))
        BeamDagRunner().run(pipeline(shop, tmp_path))
        assert states(tmp_path) == [COMPLETE, CACHED]
        shop.produce([40])
        BeamDagRunner().run(pipeline(shop, tmp_path))
        assert states(tmp_path) == [COMPLETE, CACHED, COMPLETE]
    watcher.going = False

    manifests = sorted((tmp_path / "root").rglob("manifest.json"))
    first, last = (json.loads(path.read_text()) for path in manifests)
    assert first["rows"]["read"] == 40
    assert last["sources"][0]["offsets"] == {"0": [0, 41]}
    assert last["sources"][1]["checksum"].startswith("rows:5,")
    assert last["sources"][2]["files"][0]["checksum"].startswith("etag:")

    (tmp_path / "log.txt").write_text(caplog.text)
    assert "read readings: 40 rows" in caplog.text
    for path in filter(Path.is_file, tmp_path.rglob("*")):
        assert_no_secret(path.read_bytes().decode("utf-8", "replace"), shop, str(path))
    assert any("java" in line for line in watcher.seen)
    for line in watcher.seen:
        assert_no_secret(line, shop, "a command line")


def assert_no_secret(text: str, shop: Shop, where: str) -> None:
    for secret in shop.secrets:
        assert secret not in text, f"a secret is in {where}"


def test_the_compiled_spec_holds_no_secret(shop: Shop, tmp_path: Path, monkeypatch) -> None:
    from kubeflow import compile as kubeflow_compile

    monkeypatch.chdir(ROOT)
    config = yaml.safe_load((ROOT / "applications/movielens/configs/movielens.yaml").read_text())
    config["sources"]["users"] = {
        "kind": "jdbc",
        "url": shop.mariadb.jdbc_url,
        "table": "users",
        "user": shop.mariadb.user,
        "password_env": "SHOP_DB",
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    arguments = ["--config", str(tmp_path / "c.yaml"), "--output", str(tmp_path / "spec.yaml")]
    result = CliRunner().invoke(kubeflow_compile.main, arguments)
    assert result.exit_code == 0, result.output
    spec = (tmp_path / "spec.yaml").read_text()
    assert "SHOP_DB" in spec
    assert_no_secret(spec, shop, "the spec")


def test_a_refused_password_is_no_secret_in_the_log(shop: Shop, tmp_path: Path) -> None:
    """The driver of the database may quote what it was given; we do not."""
    source = JdbcSource(
        "t", url=shop.mariadb.jdbc_url, user=shop.mariadb.user, password_env="SHOP_DB"
    )
    script = (
        "import dataclasses, json, sys\n"
        "from spark_io.example_job_process import run_job\n"
        "print(run_job(json.loads(sys.argv[1])))\n"
    )
    from spark_io.sources.source_types import sources_to_json

    request = {
        "find": {
            "input_base": "",
            "sources": sources_to_json({"t": source}),
            "length": 1,
            "last": None,
            "decided": {},
            "fingerprint": None,
            "spark": {"master": "local[1]", "conf": {}, "jars": [str(ROOT / "jars/spark/*.jar")]},
        }
    }
    answer = subprocess.run(
        [sys.executable, "-c", script, json.dumps(request)],
        env={**os.environ, "SHOP_DB": "not-the-password"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode != 0
    assert "the database rejects user or password" in answer.stderr
    assert "not-the-password" not in answer.stdout + answer.stderr


def test_the_services_listen_on_this_machine_alone(
    kafka_service: Any, mariadb_service: Any, s3_service: Any, spark: SparkSession
) -> None:
    """As `make services` starts them, and Spark beside them."""
    found = listening_now()
    assert {program for program, _ in found} >= {"java", "mariadbd"}
    assert beyond_loopback(found) == set()
