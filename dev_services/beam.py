"""Beam on Spark: a job server, which gives Beam's pipelines to a Spark cluster, and Python workers.

The whole job server that Beam's own SparkRunner downloads (spark-3-job-server) is this with its
jars in one.
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
# What Spark opens for itself when it is started by its own scripts (JavaModuleOptions).
_OPENED = ("lang", "lang.invoke", "net", "nio", "util", "util.concurrent", "util.concurrent.atomic")


@dataclass(frozen=True)
class BeamOnSpark:
    """How to reach it.

    Attributes:
      job_endpoint: host:port that pipelines are given to.
      worker_pool: host:port that Spark's executors ask for a Python worker; on a cluster of several
        hosts each has a pool of its own at this address.
    """

    job_endpoint: str
    worker_pool: str

    def pipeline_args(self) -> list[str]:
        """For `beam_pipeline_args` of a config."""
        return [
            "--runner=PortableRunner",
            f"--job_endpoint={self.job_endpoint}",
            "--environment_type=EXTERNAL",
            f"--environment_config={self.worker_pool}",
            # Else every stage starts its Python workers anew, hundreds in a pipeline.
            "--environment_cache_millis=600000",
            # Else TFX builds a package of itself, for workers that have it already.
            "--sdk_container_image=none",
            # Else every jar of the job server's class path is sent to the executors, Spark's too.
            f"--files_to_stage={min((JARS / 'beam').glob('beam-runners-spark-*.jar'))}",
        ]


@contextmanager
def beam_on_spark(folder: Path, master: str) -> Iterator[BeamOnSpark]:
    """Runs both until the block ends.

    Args:
      folder: for logs and what pipelines bring; must exist.
      master: of a Spark cluster on this machine, spark://...
    """
    job, artifacts, expansion, pool = free_ports(4)
    java, *options = java_command("beam", heap="512m")
    classes = options.index("-cp") + 1
    beam = options[classes]
    # Beam's first: it needs a newer Guava than Spark 3.5 brings.
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
    # The pool starts its workers with `python`: the one of this environment.
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
