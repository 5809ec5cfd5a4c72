"""A SparkExampleGen job on the session's Spark."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from components.spark_example_gen import __main__ as command
from spark_io import example_job as job
from spark_io.connectors.connector import InputLocation
from spark_io.connectors.files import find
from spark_io.publishing.staging import staging_folder
from spark_io.sources.column_names import quoted
from spark_io.sources.reading import read_source
from spark_io.sources.source_types import FileSource, SparkConfig, sources_to_json
from spark_io.sources.spans import SpanRange
from tests.spark_io import job_runs, replay_runs
from tests.spark_io.readings import READINGS, Read


@pytest.fixture
def run(spark: SparkSession, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs a job on the shared Spark session; the sources' paths lie in tmp_path."""

    def run_job(etl: str = "tests.spark_io.sensor_etl.build", **changes: Any) -> dict[str, Any]:
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


@pytest.fixture
def read(spark: SparkSession, tmp_path: Path) -> Read:
    """Writes one file and reads it: (rows, (reason, record) of rejected rows)."""

    def read_file(name: str, content: str | bytes, **fields: Any):  # type: ignore[no-untyped-def]
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        source = FileSource(path=name, **fields)
        found = find("s", source, SpanRange(), InputLocation(str(tmp_path)))
        rows = read_source(spark, "s", source, found, str(tmp_path), True)
        columns = [quoted(column) for column in source.columns]
        readable = sorted(map(tuple, rows.rows.select(*columns).collect()), key=_nulls_first)
        rejected = rows.rejected.select("_reason", "_record").collect() if rows.rejected else []
        assert rows.read == len(readable) + len(rejected)
        return readable, sorted(tuple(row) for row in rejected)

    return read_file


def _nulls_first(row: tuple[Any, ...]) -> list[tuple[bool, Any]]:
    return [(value is not None, value if value is not None else 0) for value in row]


# A job that is disturbed, and one that is not: test_faults*.py


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fault-data")
    job_runs.write_numbered_readings(folder)
    return folder


@pytest.fixture(scope="module")
def undisturbed(
    data: Path, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> job_runs.Rows:
    """The rows of a run without failures."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    job_runs.run_here(spark, job_runs.request(data, out))
    return job_runs.published_rows(out)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The folder of both artifacts; TFX makes that of the examples beforehand."""
    (tmp_path / "out" / "examples").mkdir(parents=True)
    return tmp_path / "out"


# A finished run with rejected rows: test_replay*.py, test_next_version.py


@pytest.fixture
def v1(tmp_path: Path) -> Path:
    return replay_runs.first_version(tmp_path)


@pytest.fixture
def finished(v1: Path, tmp_path: Path) -> replay_runs.Run:
    return replay_runs.finished_run(tmp_path)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether Spark can read the rows is not what the test is about; test_replay.py looks at it."""
    monkeypatch.setattr(command, "check_readable", lambda source, repairs: None)
