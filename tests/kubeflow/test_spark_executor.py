"""A Spark executor starts in the image of all steps."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kubeflow.spark_executor import java_command, main

VARIABLES = {
    "SPARK_DRIVER_URL": "spark://CoarseGrainedScheduler@driver:7078",
    "SPARK_EXECUTOR_ID": "3",
    "SPARK_EXECUTOR_CORES": "2",
    "SPARK_EXECUTOR_MEMORY": "512m",
    "SPARK_APPLICATION_ID": "spark-1",
    "SPARK_EXECUTOR_POD_IP": "127.0.0.1",
    "SPARK_RESOURCE_PROFILE_ID": "0",
    "SPARK_EXECUTOR_POD_NAME": "etl-3",
}


@pytest.mark.unit
def test_options_come_in_their_order_and_jars_of_the_user_first() -> None:
    options = {"SPARK_JAVA_OPT_10": "-Dlast", "SPARK_JAVA_OPT_2": "-Dspark.a=b c"}
    given = {**VARIABLES, **options, "SPARK_CLASSPATH": "/opt/mine.jar"}
    command = java_command("java", Path("/spark"), given)
    assert command[:7] == [
        "java",
        "-Dspark.a=b c",
        "-Dlast",
        "-Xms512m",
        "-Xmx512m",
        "-cp",
        "/opt/mine.jar:/spark/jars/*",
    ]
    assert command[8:10] == ["--driver-url", VARIABLES["SPARK_DRIVER_URL"]]
    assert command[-2:] == ["--podName", "etl-3"]


@pytest.mark.unit
def test_a_start_without_sparks_variables_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["driver"]) == 2
    assert main(["executor"]) == 2
    assert "SPARK_EXECUTOR_MEMORY is not set" in capsys.readouterr().err


@pytest.mark.component
def test_sparks_own_executor_looks_for_its_driver() -> None:
    """Spark accepts all arguments, and ends because the driver's address does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = {"SPARK_DRIVER_URL": f"spark://CoarseGrainedScheduler@127.0.0.1:{port}"}
    ended = subprocess.run(
        [sys.executable, "-m", "kubeflow.spark_executor", "executor"],
        env={**os.environ, **VARIABLES, **address},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode != 0
    assert f"Failed to connect to /127.0.0.1:{port}" in ended.stdout + ended.stderr
