"""Starts the Spark session of a job, with our defaults, the user's settings and jars."""

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
_ROWS_A_TASK = 250_000  # 10 million rows in 4 tasks exceed 2 GiB: docs/decisions.md


@contextlib.contextmanager
def spark_session(
    settings: Mapping[str, Any], name: str = "SparkExampleGen"
) -> Iterator[SparkSession]:
    """Starts Spark, and stops it at the end of the block.

    Args:
      settings: SparkConfig as a dict.
      name: Name of the application in Spark's UI.

    Raises:
      ComponentError: A glob in `jars` matches no file.
    """
    master, conf = settings["master"], dict(settings["conf"])
    jars = [*find_jars(settings.get("jars", ())), *filter(None, [conf.pop("spark.jars", "")])]
    if jars:
        conf["spark.jars"] = ",".join(jars)
    if master.startswith("local"):
        # Otherwise a local cluster listens on the address of this machine's name.
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    builder = SparkSession.builder.appName(name).master(master)
    for key in ("spark.driver.defaultJavaOptions", "spark.executor.defaultJavaOptions"):
        # JDBC drivers use the JVM's time zone. extraJavaOptions is left to the user.
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
    """Sets the number of tasks after a shuffle, so that each one's share fits Spark's heap.

    The user's own number has precedence, and so has Spark's on a cluster.

    Args:
      spark: Session that was started with `settings`.
      settings: SparkConfig as a dict.
      rows: Number of rows of the largest source.
    """
    if settings["master"].startswith("local") and _SHUFFLE not in settings["conf"]:
        rounds = math.ceil(rows / _ROWS_A_TASK / _tasks())
        spark.conf.set(_SHUFFLE, max(1, rounds) * _tasks())


def _tasks() -> int:
    return 2 * (os.cpu_count() or 2)


def spark_environment() -> dict[str, str]:
    """Returns the environment variables that Spark needs at its start: a Java, this Python, UTC.

    Raises:
      ComponentError: There is no suitable Java.
    """
    try:
        java = find_java()
    except JavaNotFoundError as error:
        raise ComponentError(str(error)) from error
    return {
        "JAVA_HOME": str(java.home),
        # Spark's settings for this take effect only after the first worker has started.
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "TZ": "UTC",  # for Python functions in the ETL
    }


def find_jars(globs: Sequence[str]) -> list[str]:
    """Returns the absolute paths of the jars.

    Raises:
      ComponentError: A glob matches no file.
    """
    jars = []
    for pattern in globs:
        found = sorted(glob.glob(pattern))  # noqa: PTH207 - absolute globs too
        if not found:
            raise ComponentError(
                f"no jar matches {pattern} (in spark.jars); `make jars` downloads the connectors "
                "to jars/spark/"
            )
        jars += [str(Path(jar).resolve()) for jar in found]
    return jars


def _defaults(master: str) -> dict[str, str]:
    """Returns settings that results depend on and, on one machine, sizes and addresses."""
    conf = {
        "spark.sql.session.timeZone": "UTC",  # hours and days mean the same everywhere
        "spark.sql.ansi.enabled": "false",  # Spark 4 would stop at one bad value
        "spark.sql.legacy.timeParserPolicy": "CORRECTED",  # or at 2024-02-30
        "spark.sql.legacy.codingErrorAction": "true",  # or at bytes that are not UTF-8
        "spark.sql.execution.arrow.maxRecordsPerBatch": "20000",
        # Otherwise Spark pads MySQL's CHAR, ENUM and SET to the length of the type.
        "spark.sql.readSideCharPadding": "false",
        # Otherwise Spark turns a folder's `country=01` into the number 1.
        "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
        # The file systems' own checksums, for the fingerprint.
        "spark.hadoop.fs.s3a.etag.checksum.enabled": "true",
        "spark.hadoop.dfs.checksum.combine.mode": "COMPOSITE_CRC",
        # A service that is down is an error after half a minute, not a quarter of an hour.
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
            # Otherwise one task writes a small data set, in one shard that readers cannot divide.
            "spark.sql.adaptive.coalescePartitions.minPartitionNum": tasks,
            "spark.sql.files.minPartitionNum": tasks,
            # Opening a local file is cheap, so a task lists and reads many small ones. Spark's
            # defaults are for a cluster and its file system.
            "spark.sql.sources.parallelPartitionDiscovery.parallelism": tasks,
            "spark.sql.files.openCostInBytes": "65536",
        }
    return conf
