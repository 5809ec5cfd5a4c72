"""The Spark session of a job: our defaults, the user's settings over them, connectors' jars."""

from __future__ import annotations

import contextlib
import glob
import math
import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from base.errors import ComponentError
from spark_io.jobs.java import JavaNotFoundError, find_java

_UTC = "-Duser.timezone=UTC"
_SHUFFLE = "spark.sql.shuffle.partitions"
_ROWS_A_TASK = 250_000  # ten million rows in 4 tasks did not fit 2 GiB: docs/decisions.md


@contextlib.contextmanager
def spark_session(
    settings: Mapping[str, Any], name: str = "SparkExampleGen"
) -> Iterator[SparkSession]:
    """Starts Spark, and stops it.

    Args:
      settings: of SparkConfig, as a dict.
      name: of the application, as Spark's own pages show it.

    Raises:
      ComponentError: a glob of `jars` that matches nothing.
    """
    master, conf = settings["master"], dict(settings["conf"])
    jars = [*find_jars(settings.get("jars", ())), *filter(None, [conf.pop("spark.jars", "")])]
    if jars:
        conf["spark.jars"] = ",".join(jars)
    if master.startswith("local"):
        # The processes of a local cluster would listen on the address of this machine's name.
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    builder = SparkSession.builder.appName(name).master(master)
    for key in ("spark.driver.defaultJavaOptions", "spark.executor.defaultJavaOptions"):
        # JDBC drivers go by the JVM's own zone. Beside extraJavaOptions, which may be the user's.
        conf[key] = f"{conf.get(key, '')} {_UTC}".strip()
    conf["spark.executorEnv.TZ"] = "UTC"
    for key, value in {**_defaults(master), **conf}.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("WARN")
    try:
        yield spark
    finally:
        spark.stop()


def size_shuffles(spark: SparkSession, settings: Mapping[str, Any], rows: int) -> None:
    """On one machine, so many tasks after a shuffle that the share of each fits Spark's heap.

    What the user set stays; on a cluster Spark's own number does.

    Args:
      spark: of `settings`.
      settings: as of `spark_session`.
      rows: that are shuffled, of the largest source.
    """
    if settings["master"].startswith("local") and _SHUFFLE not in settings["conf"]:
        rounds = math.ceil(rows / _ROWS_A_TASK / _tasks())
        spark.conf.set(_SHUFFLE, max(1, rounds) * _tasks())


def _tasks() -> int:
    return 2 * (os.cpu_count() or 2)


def spark_environment() -> dict[str, str]:
    """What Spark reads from the environment when it starts: a Java, this Python, UTC.

    Raises:
      ComponentError: there is no suitable Java.
    """
    try:
        java = find_java()
    except JavaNotFoundError as error:
        raise ComponentError(str(error)) from error
    return {
        "JAVA_HOME": str(java.home),
        # Spark's own settings for this come too late for the first worker.
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "TZ": "UTC",  # of Python functions in the ETL
    }


def find_jars(globs: Sequence[str]) -> list[str]:
    """Absolute paths of the jars.

    Raises:
      ComponentError: a glob matches nothing.
    """
    jars = []
    for pattern in globs:
        found = sorted(glob.glob(pattern))  # noqa: PTH207 - absolute globs too
        if not found:
            raise ComponentError(
                f"no jar matches {pattern} (of spark.jars); `make jars` brings the connectors to "
                "jars/spark/"
            )
        jars += [str(Path(jar).resolve()) for jar in found]
    return jars


def _defaults(master: str) -> dict[str, str]:
    """What results depend on, everywhere; sizes and addresses for one machine only."""
    conf = {
        "spark.sql.session.timeZone": "UTC",  # hours and days mean the same everywhere
        "spark.sql.ansi.enabled": "false",  # Spark 4's default would stop a run on one bad value
        "spark.sql.legacy.timeParserPolicy": "CORRECTED",  # nor should 2024-02-30
        "spark.sql.legacy.codingErrorAction": "true",  # Spark 4: nor bytes that are no UTF-8
        "spark.sql.execution.arrow.maxRecordsPerBatch": "20000",
        # MySQL's CHAR, ENUM and SET come with the length of the type, which Spark would fill.
        "spark.sql.readSideCharPadding": "false",
        # A folder's `country=01` is text: Spark would make the number 1 of it.
        "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
        # Checksums of contents from the file systems that keep them, for the fingerprint.
        "spark.hadoop.fs.s3a.etag.checksum.enabled": "true",
        "spark.hadoop.dfs.checksum.combine.mode": "COMPOSITE_CRC",
        # Half a minute instead of a quarter of an hour until a service that is down is an error.
        "spark.hadoop.fs.s3a.attempts.maximum": "3",
        "spark.hadoop.fs.s3a.connection.establish.timeout": "5000",
        "spark.hadoop.ipc.client.connect.max.retries": "3",
    }
    if master.startswith("local"):
        tasks = str(_tasks())
        conf |= {
            "spark.ui.enabled": "false",
            "spark.authenticate": "true",
            "spark.authenticate.secret": secrets.token_hex(32),
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.memory": "2g",
            _SHUFFLE: tasks,
            # Else little data is written by one task, in one shard that no reader can share out.
            "spark.sql.adaptive.coalescePartitions.minPartitionNum": tasks,
            "spark.sql.files.minPartitionNum": tasks,
            # Thousands of small files: a task lists and reads many of them, for opening one costs
            # little here. Spark's own numbers are those of a cluster and its file system.
            "spark.sql.sources.parallelPartitionDiscovery.parallelism": tasks,
            "spark.sql.files.openCostInBytes": "65536",
        }
    return conf
