"""A SparkExampleGen job on the session's Spark."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from readings import READINGS

from components.spark_example_gen import job
from components.spark_example_gen.sources import SparkConfig, sources_to_json
from components.spark_example_gen.staging import staging_folder


@pytest.fixture
def run(spark: SparkSession, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs a job on the shared Spark session; the sources' paths lie in tmp_path."""

    def run_job(etl: str = "sensor_etl.build", **changes: Any) -> dict[str, Any]:
        sources = changes.pop("sources", {"readings": READINGS})
        (tmp_path / "out" / "examples").mkdir(parents=True, exist_ok=True)
        splits = {"names": ["train", "eval"], "buckets": [2, 1], "feature": None}
        request = job.JobRequest(
            inputs=job.InputRequest(
                input_base=changes.pop("input_base", str(tmp_path)),
                sources=sources_to_json(sources),
                length=changes.pop("length", 1),
                last=changes.pop("last", None),
                decided=changes.pop("decided", {}),
                fingerprint=changes.pop("fingerprint", None),
                spark=dataclasses.asdict(SparkConfig()),
            ),
            etl=etl,
            etl_parameters=changes.pop("etl_parameters", {}),
            etl_code_sha256="",
            splits=changes.pop("time_cut", None) or splits | changes.pop("splits", {}),
            row_accounting=changes.pop("row_accounting", "exact"),
            max_quarantine_fraction=changes.pop("max_quarantine_fraction", 0.5),
            examples_uri=str(tmp_path / "out" / "examples"),
            quarantine_uri=str(tmp_path / "out" / "quarantine"),
        )
        assert not changes, f"unknown {changes}"
        with staging_folder(tmp_path / "out" / "examples") as staging:
            return job.run_in(spark, staging, request)

    return run_job
