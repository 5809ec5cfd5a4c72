"""The Spark job, in a process of its own: `python -m components.spark_example_gen.job REQUEST`.

A process of its own because the JVM outlives `spark.stop()` with gigabytes of memory, and because
a job that is killed must not take the pipeline with it. The request is a JSON file; the answer is
`answer.json` beside it: {"manifest": {...}} or {"error": "one line"}. The job ends when
its standard input is closed, so it never outlives the pipeline.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from components.errors import ComponentError
from components.spark_example_gen import publish
from components.spark_example_gen.encoding import check_types
from components.spark_example_gen.job_errors import explain
from components.spark_example_gen.reading import SourceRows, read_source
from components.spark_example_gen.rows import RESERVED, EtlContext, with_reserved_columns
from components.spark_example_gen.shards import REPORT_SCHEMA, shard_writer
from components.spark_example_gen.sources import FileSource
from components.spark_example_gen.splits import HashSplits

ANSWER = "answer.json"
PROGRESS = "progress: "


@dataclasses.dataclass(frozen=True)
class JobRequest:
    """Everything the job needs; plain JSON, so it can be read and repeated by hand."""

    sources: dict[str, dict[str, Any]]  # name -> FileSource as dict; the first is primary
    files: dict[str, list[str]]  # name -> paths
    spans: list[int]
    etl: str
    etl_parameters: dict[str, Any]
    splits: dict[str, Any]  # HashSplits as dict
    spark_master: str
    spark_conf: dict[str, str]
    row_accounting: str  # 'exact' or 'off'
    max_quarantine_fraction: float
    examples_uri: str
    quarantine_uri: str
    manifest: dict[str, Any]  # what the driver knows; counts are added here

    def hash_splits(self) -> HashSplits:
        splits = self.splits
        return HashSplits(tuple(splits["names"]), tuple(splits["buckets"]), splits["feature"])


def run(request: JobRequest) -> dict[str, Any]:
    """Runs the ETL and publishes its rows; returns the manifest."""
    primary = next(iter(request.sources))
    staging = Path(request.examples_uri) / publish.STAGING
    splits = request.hash_splits()
    for folder in splits.names:
        (staging / folder).mkdir(parents=True, exist_ok=True)
    with _spark(request) as spark:
        sources = _read_sources(spark, request, primary)
        rows = _apply_etl(spark, request, sources)
        _check_columns(rows, splits)
        _say("transforming and encoding")
        written = rows.mapInArrow(shard_writer(str(staging), splits, primary), REPORT_SCHEMA)
        report = publish.TaskReport.from_rows(written.collect(), splits.names)
    read = sources[primary].read
    if request.row_accounting == "exact":
        publish.check_accounts(report, primary, read)
    counts = {name: source.read for name, source in sources.items()}
    publish.check_quarantine(report, counts, request.max_quarantine_fraction)
    publish.check_splits(report)
    manifest = _complete(request.manifest, sources, report, primary)
    publish.publish(
        staging, report, manifest, Path(request.examples_uri), Path(request.quarantine_uri)
    )
    return manifest


@contextlib.contextmanager
def _spark(request: JobRequest) -> Iterator[SparkSession]:
    _say(f"starting Spark on {request.spark_master}")
    builder = SparkSession.builder.appName("SparkExampleGen").master(request.spark_master)
    for key, value in {**_defaults(request.spark_master), **request.spark_conf}.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("WARN")
    try:
        yield spark
    finally:
        spark.stop()


def _defaults(master: str) -> dict[str, str]:
    """Settings for one machine; a cluster's own settings are left alone."""
    conf = {
        "spark.sql.session.timeZone": "UTC",  # hours and days mean the same everywhere
        "spark.sql.ansi.enabled": "false",  # Spark 4's default would stop a run on one bad value
        "spark.sql.execution.arrow.maxRecordsPerBatch": "20000",
    }
    if master.startswith("local"):
        conf |= {
            "spark.ui.enabled": "false",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.memory": "2g",
            "spark.sql.shuffle.partitions": str(2 * (os.cpu_count() or 2)),
        }
    return conf


def _read_sources(spark: SparkSession, request: JobRequest, primary: str) -> dict[str, SourceRows]:
    sources = {}
    for name, fields in request.sources.items():
        files = request.files[name]
        _say(f"reading {name}: {len(files):,} file{'s' if len(files) > 1 else ''}")
        source = FileSource(**fields)
        sources[name] = read_source(spark, name, source, files, name == primary)
        _say(f"read {name}: {sources[name].read:,} rows")
    return sources


def _apply_etl(
    spark: SparkSession, request: JobRequest, sources: dict[str, SourceRows]
) -> DataFrame:
    build = _import(request.etl)
    context = EtlContext(request.etl_parameters, tuple(request.spans))
    frames = {name: source.rows for name, source in sources.items()}
    rows = with_reserved_columns(build(spark, frames, context))
    for source in sources.values():
        if source.unparseable is not None:
            rows = rows.unionByName(source.unparseable, allowMissingColumns=True)
    return rows


def _import(dotted_path: str):  # type: ignore[no-untyped-def]
    module, _, name = dotted_path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except AttributeError:
        raise ComponentError(f"etl '{dotted_path}': module {module} has no '{name}'") from None


def _check_columns(rows: DataFrame, splits: HashSplits) -> None:
    features = {name: kind for name, kind in rows.dtypes if name not in RESERVED}
    check_types(features)
    if splits.feature is not None and splits.feature not in features:
        raise ComponentError(
            f"partition feature '{splits.feature}' is no column of the ETL's result; it has: "
            f"{', '.join(sorted(features))}"
        )


def _complete(
    manifest: dict[str, Any],
    sources: dict[str, SourceRows],
    report: publish.TaskReport,
    primary: str,
) -> dict[str, Any]:
    described = [
        {**entry, "rows_read": sources[entry["name"]].read} for entry in manifest["sources"]
    ]
    rows = {
        "read": sources[primary].read,
        "splits": report.split_rows(),
        "quarantined": report.quarantined_of(primary),
        "dropped": sum(report.dropped.values()),
    }
    return {
        **manifest,
        "sources": described,
        "rows": rows,
        "quarantined": report.quarantined,
        "dropped": report.dropped,
    }


def _say(text: str) -> None:
    print(f"{PROGRESS}{text}", flush=True)


def _end_with_parent() -> None:
    """Ends this process, and with it the JVM, when the pipeline that started it is gone."""

    def wait() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main(request_path: str) -> int:
    _end_with_parent()
    path = Path(request_path)
    request = JobRequest(**json.loads(path.read_text("utf-8")))
    try:
        answer: dict[str, Any] = {"manifest": run(request)}
    except Exception as error:
        traceback.print_exc()
        answer = {"error": explain(error)}
    publish.write_json(path.parent / ANSWER, answer)
    sys.stdout.flush()
    return 0 if "manifest" in answer else 1


if __name__ == "__main__":
    # os._exit: Python would wait for the thread that watches standard input.
    os._exit(main(sys.argv[1]))
