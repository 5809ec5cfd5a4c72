"""Starts a Spark executor on Kubernetes, in the image of all steps.

    python -m kubeflow.spark_executor executor

Spark starts an executor's container with the argument `executor` and environment variables, which
the image has to interpret. The pod template manifests/spark/executor.yaml names this module. It
replaces itself with Java, so that Kubernetes' signals reach the executor.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_BACKEND = "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend"
_OPTION = re.compile(r"SPARK_JAVA_OPT_(\d+)")
# Argument -> the variable that Spark sets for it.
_ARGUMENTS = {
    "--driver-url": "SPARK_DRIVER_URL",
    "--executor-id": "SPARK_EXECUTOR_ID",
    "--cores": "SPARK_EXECUTOR_CORES",
    "--app-id": "SPARK_APPLICATION_ID",
    "--hostname": "SPARK_EXECUTOR_POD_IP",
    "--resourceProfileId": "SPARK_RESOURCE_PROFILE_ID",
    "--podName": "SPARK_EXECUTOR_POD_NAME",
}


def java_command(java: str, spark_home: Path, variables: Mapping[str, str]) -> list[str]:
    """Builds the executor's command from the variables that Spark sets.

    Raises:
      KeyError: A variable is missing, so Spark did not start this process.
    """
    memory = variables["SPARK_EXECUTOR_MEMORY"]
    options = [
        (found, value) for name, value in variables.items() if (found := _OPTION.match(name))
    ]
    options.sort(key=lambda one: int(one[0][1]))
    paths = [variables.get("SPARK_CLASSPATH", ""), f"{spark_home}/jars/*"]
    return [
        java,
        *(value for _, value in options),
        f"-Xms{memory}",
        f"-Xmx{memory}",
        "-cp",
        ":".join(filter(None, paths)),
        _BACKEND,
        *(word for name, key in _ARGUMENTS.items() for word in (name, variables[key])),
    ]


def main(arguments: Sequence[str]) -> int:
    """Replaces this process with the executor; returns an exit status only on failure."""
    if list(arguments) != ["executor"]:
        print("kubeflow.spark_executor: Spark starts it, with `executor`", file=sys.stderr)
        return 2
    import pyspark

    from spark_io.jobs.session import spark_environment

    environment = {**os.environ, **spark_environment()}
    home = Path(pyspark.__file__).parent
    try:
        command = java_command(f"{environment['JAVA_HOME']}/bin/java", home, environment)
    except KeyError as error:
        print(f"kubeflow.spark_executor: {error.args[0]} is not set", file=sys.stderr)
        return 2
    environment["SPARK_HOME"] = str(home)
    os.execve(command[0], command, environment)  # noqa: S606 - without a shell
    return 1  # not reached


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
