"""Payments in Kafka, tables in MariaDB and the rest on HDFS give the examples that files give."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from confluent_kafka import Producer
from pyspark.sql import DataFrame, SparkSession

from applications.fraud.etl import build_examples
from applications.fraud.sample_data.dirt import Dirt
from applications.fraud.sample_data.payment_log import PaymentLogConfig, generate_payment_log
from pipeline.config import PipelineConfig, load_config
from spark_io.connectors.connector import InputLocation
from spark_io.examples.rows import OUTCOME, EtlContext
from spark_io.sources.inputs import find_inputs
from spark_io.sources.reading import read_source
from spark_io.sources.spans import SpanRange

pytestmark = pytest.mark.integration

OUTCOME_OF_A_DAY = "sources.chargebacks.outcome.within=1d"
CONFIGS = "applications/fraud/configs/"
DAYS = 2


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sources") / "log"
    config = PaymentLogConfig(
        payments=1_500, days=DAYS, chargeback_hours=24, seed=8, dirt=Dirt.preset("none")
    )
    generate_payment_log(config, out)
    return out


def to_kafka(log: Path, servers: str, topic: str) -> None:
    """Produces the payments with their own times, and one of the next day, which ends the last."""
    producer = Producer({"bootstrap.servers": servers})
    last = 0
    for path in sorted((log / "payments").rglob("*.json.gz")):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            last = json.loads(line)["timestamp_ms"]
            producer.produce(topic, line, timestamp=last)
    producer.produce(topic, b"{}", timestamp=last + 86_400_000)
    producer.flush()


def to_database(log: Path, spark: SparkSession, database: Any) -> None:
    tables = {
        "fraud_merchants": pd.read_csv(log / "merchants.csv"),
        "fraud_devices": pd.read_parquet(log / "devices.parquet"),
    }
    for name, table in tables.items():
        options = {
            "url": database.jdbc_url,
            "driver": database.driver,
            "user": database.user,
            "password": database.password,
            "dbtable": name,
        }
        rows = spark.createDataFrame(table)
        rows.write.format("jdbc").options(**options).mode("overwrite").save()


def to_hdfs(log: Path, spark: SparkSession, url: str) -> None:
    jvm: Any = spark._jvm
    there = jvm.org.apache.hadoop.fs.Path(url)
    files = there.getFileSystem(spark._jsc.hadoopConfiguration())  # type: ignore[attr-defined]
    for name in ("chargebacks", "networks.parquet"):
        source = jvm.org.apache.hadoop.fs.Path(f"file://{log / name}")
        files.copyFromLocalFile(source, jvm.org.apache.hadoop.fs.Path(f"{url}/{name}"))


def examples(spark: SparkSession, config: PipelineConfig) -> dict[str, dict]:
    place = InputLocation(config.data_root, spark)
    found = find_inputs(config.sources, SpanRange(DAYS), place)
    frames: dict[str, DataFrame] = {
        name: read_source(
            spark, name, source, found.by_source[name], place.base, name == "payments"
        ).rows
        for name, source in config.sources.items()
    }
    outcomes = {"chargebacks": config.sources["chargebacks"].outcome}
    context = EtlContext({}, (0,), 0, {k: v for k, v in outcomes.items() if v is not None})
    rows = build_examples(spark, frames, context).where(f"{OUTCOME} is null").collect()
    return {row["payment_id"]: row.asDict() for row in rows}


def test_a_bank_s_sources_give_the_examples_of_the_files(
    spark: SparkSession,
    log: Path,
    kafka_service: Any,
    mariadb_service: Any,
    hdfs_service: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = f"{hdfs_service.url}/fraud"
    to_kafka(log, kafka_service.bootstrap_servers, "fraud-payments")
    to_database(log, spark, mariadb_service)
    to_hdfs(log, spark, url)
    monkeypatch.setenv("FRAUD_DB_PASSWORD", mariadb_service.password)
    settings = [
        f"data_root={url}",
        f"sources.payments.bootstrap_servers={kafka_service.bootstrap_servers}",
        "sources.payments.topic=fraud-payments",
    ]
    for name in ("merchants", "devices"):
        settings += [
            f"sources.{name}.url={mariadb_service.jdbc_url}",
            f"sources.{name}.user={mariadb_service.user}",
            f"sources.{name}.table=fraud_{name}",
        ]
    cluster = load_config(CONFIGS + "fraud-cluster.yaml", [*settings, OUTCOME_OF_A_DAY])
    files = load_config(CONFIGS + "fraud.yaml", [f"data_root={log}", OUTCOME_OF_A_DAY])
    expected = examples(spark, files)
    assert len(expected) > 1_400
    assert examples(spark, cluster) == expected
