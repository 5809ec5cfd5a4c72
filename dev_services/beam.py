"""Runs Beam on Spark: a job server, which submits pipelines to a Spark cluster, and Python workers.

The spark-3-job-server that Beam's SparkRunner downloads is the same job server in a single jar.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyspark

from dev_services.java import JARS, java_command
from dev_services.process import LOOPBACK, free_ports, listens, running

_JOB_SERVER = "org.apache.beam.runners.spark.SparkJobServerDriver"
# Java packages that Spark's own start scripts open (JavaModuleOptions).
_OPENED = ("lang", "lang.invoke", "net", "nio", "util", "util.concurrent", "util.concurrent.atomic")


@dataclass(frozen=True)
class BeamOnSpark:
    """The addresses of Beam on Spark.

    Attributes:
      job_endpoint: Address (host:port) that takes pipelines.
      worker_pool: Address (host:port) from which Spark's executors get Python workers; on a cluster
        of several hosts each has its own pool at this address.
    """

    job_endpoint: str
    worker_pool: str

    def pipeline_args(self) -> list[str]:
        """Returns `beam_pipeline_args` for a config."""
        return [
            "--runner=PortableRunner",
            f"--job_endpoint={self.job_endpoint}",
            "--environment_type=EXTERNAL",
            f"--environment_config={self.worker_pool}",
            # Without it, every stage starts new Python workers, hundreds in a pipeline.
            "--environment_cache_millis=600000",
            # Without it, TFX builds a package of itself for workers that already have it.
            "--sdk_container_image=none",
            # Without it, all jars on the job server's class path go to the executors, Spark's too.
            f"--files_to_stage={min((JARS / 'beam').glob('beam-runners-spark-*.jar'))}",
        ]


@contextmanager
def beam_on_spark(folder: Path, master: str) -> Iterator[BeamOnSpark]:
    """Runs the job server and the worker pool until the block ends.

    Args:
      folder: Existing folder for logs and pipelines' artifacts.
      master: Address of a Spark cluster on this machine, spark://...
    """
    job, artifacts, expansion, pool = free_ports(4)
    java, *options = java_command("beam", heap="512m")
    classes = options.index("-cp") + 1
    beam = options[classes]
    # Beam's jars come first: Beam needs a newer Guava than Spark 3.5 has.
    options[classes] = f"{beam}:{Path(pyspark.__file__).parent / 'jars'}/*"
    opened = [f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in _OPENED]
    opened.append("--add-opens=java.base/sun.nio.ch=ALL-UNNAMED")
    spark = {
        "spark.executor.extraClassPath": beam,
        "spark.executor.memory": "512m",
        "spark.driver.host": LOOPBACK,
        "spark.ui.enabled": "false",
    }
    command = [java, *opened, *options, *(f"-D{name}={value}" for name, value in spark.items())]
    command += [
        _JOB_SERVER,
        f"--job-host={LOOPBACK}",
        f"--job-port={job}",
        f"--artifact-port={artifacts}",
        f"--expansion-port={expansion}",
        f"--artifacts-dir={folder / 'artifacts'}",
        f"--spark-master-url={master}",
    ]
    workers = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main"]
    workers.append(f"--service_port={pool}")
    # The pool starts its workers with `python`, which must be this environment's.
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"}
    with ExitStack() as stack:
        for name, started, port, variables in (
            ("Beam's job server", command, job, {}),
            ("Beam's worker pool", workers, pool, environment),
        ):
            log = folder / f"{name.split(' ', 1)[1].replace(' ', '_')}.log"
            stack.enter_context(
                running(name, started, log, partial(listens, port), environment=variables)
            )
        yield BeamOnSpark(f"{LOOPBACK}:{job}", f"{LOOPBACK}:{pool}")
