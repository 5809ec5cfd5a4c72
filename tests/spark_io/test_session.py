"""A job's Spark: UTC wherever it runs, whatever else its configuration says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from spark_io.example_job_process import run_job
from tests.spark_io.job_runs import request
from tests.spark_io.readings import read_split, reading, write_readings

pytestmark = pytest.mark.component


def test_jvm_and_workers_are_in_utc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    write_readings(tmp_path, [reading(n) for n in range(20)])
    options = {"spark.driver.extraJavaOptions": "-Dour.own=kept"}
    wanted = request(tmp_path, tmp_path / "out", conf=options)
    run_job(
        {
            "run": dataclasses.asdict(
                dataclasses.replace(wanted, etl="tests.spark_io.sensor_etl.tells_its_zone")
            )
        }
    )
    features = read_split(tmp_path, "train")[0].features.feature
    told = {name: features[name].bytes_list.value[0] for name in ("jvm", "python", "option")}
    assert told == {"jvm": b"UTC", "python": b"UTC", "option": b"kept"}
