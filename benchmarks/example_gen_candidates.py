"""One run of one candidate, in a process of its own: `python -m` this module with JSON.

Every TFX component runs as a pipeline of one node, and what is timed is that run: TFX is imported
before, Spark or Beam start within it. The last line printed is JSON with the seconds.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.example_gen_floor import write_examples
from spark_io.sources.source_types import FileSource, sources_to_json


def csv_example_gen(data: Path, out: Path, workers: int) -> dict[str, float]:
    """TFX's CsvExampleGen on Beam's direct runner."""
    from tfx.components import CsvExampleGen

    return _run_component(CsvExampleGen(input_base=str(data / "csv")), out, workers)


def parquet_executor(data: Path, out: Path, workers: int) -> dict[str, float]:
    """TFX's FileBasedExampleGen with its Parquet executor."""
    from tfx.components.example_gen.component import FileBasedExampleGen
    from tfx.components.example_gen.custom_executors import parquet_executor as executor
    from tfx.dsl.components.base.executor_spec import BeamExecutorSpec

    component = FileBasedExampleGen(
        input_base=str(data / "parquet"), custom_executor_spec=BeamExecutorSpec(executor.Executor)
    )
    return _run_component(component, out, workers)


def spark_example_gen(data: Path, out: Path, workers: int) -> dict[str, float]:
    """Ours on Parquet."""
    return _run_component(_ours(data, "parquet", workers), out, workers)


def spark_example_gen_csv(data: Path, out: Path, workers: int) -> dict[str, float]:
    """Ours on CSV."""
    return _run_component(_ours(data, "csv", workers), out, workers)


def _ours(data: Path, kind: str, workers: int) -> Any:
    from benchmarks.example_gen_data import SPARK_TYPES
    from components.spark_example_gen import SparkConfig, SparkExampleGen

    columns = SPARK_TYPES if kind == "csv" else {}
    return SparkExampleGen(
        str(data),
        {"rows": FileSource(kind, f"{kind}/*.{kind}", columns)},
        etl="benchmarks.example_gen_candidates.as_they_are",
        spark=SparkConfig(f"local[{workers}]"),
    )


def as_they_are(spark: Any, sources: dict[str, Any], context: Any) -> Any:
    """The ETL of the benchmark: none."""
    return sources["rows"]


def _run_component(component: Any, out: Path, workers: int) -> dict[str, float]:
    from tfx.orchestration import metadata
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner
    from tfx.orchestration.pipeline import Pipeline

    pipeline = Pipeline(
        pipeline_name="benchmark",
        pipeline_root=str(out / "root"),
        components=[component],
        metadata_connection_config=metadata.sqlite_metadata_connection_config(
            str(out / "m.sqlite")
        ),
        beam_pipeline_args=[f"--direct_num_workers={workers}", "--direct_running_mode=in_memory"],
    )
    started = time.monotonic()
    LocalDagRunner().run(pipeline)
    seconds = time.monotonic() - started
    return {"seconds": seconds, **_written(out / "root")}


def _written(root: Path) -> dict[str, float]:
    files = [path for path in root.rglob("Split-*/*") if path.is_file()]
    return {"bytes": sum(path.stat().st_size for path in files), "files": len(files)}


def steady(data: Path, out: Path, workers: int) -> dict[str, float]:
    """Ours on Parquet without any start: a job on a session that has just run one."""
    return _in_session(data, out, workers, _job)


def transport(data: Path, out: Path, workers: int) -> dict[str, float]:
    """Rows from Parquet to Spark's Python workers as Arrow, and nothing more: no Python function
    on Spark can be faster than this.
    """
    return _in_session(data, out, workers, _count_in_python)


def spark_tfrecord(data: Path, out: Path, workers: int) -> dict[str, float]:
    """The JVM data source: no splits, quarantine, accounting or manifest; Spark is running."""
    return _in_session(data, out, workers, _jvm_writer)


def _in_session(
    data: Path, out: Path, workers: int, job: Callable[[Any, Path, Path], None]
) -> dict[str, float]:
    from spark_io.jobs.session import spark_environment, spark_session

    os.environ.update(spark_environment())
    jars = tuple(filter(None, [os.environ.get("SPARK_TFRECORD_JARS", "")]))
    with spark_session({"master": f"local[{workers}]", "conf": {}, "jars": jars}) as spark:
        job(spark, data.parent / "warm", out / "warm")
        started = time.monotonic()
        job(spark, data, out / "timed")
        seconds = time.monotonic() - started
    return {"seconds": seconds, **_written(out / "timed")}


def _job(spark: Any, data: Path, out: Path) -> None:
    run_job(spark, FileSource("parquet", "parquet/*.parquet"), data, out)


def run_job(spark: Any, source: FileSource, data: Path, out: Path) -> None:
    """Runs SparkExampleGen's job on a session: one source, no ETL, one split of three for eval."""
    from spark_io import example_job as job
    from spark_io.publishing.staging import staging_folder

    settings = {"master": spark.sparkContext.master, "conf": {}, "jars": []}
    sources = sources_to_json({"rows": source})
    request = job.JobRequest(
        inputs=job.InputRequest(str(data), sources, 1, None, {}, None, settings),
        etl="benchmarks.example_gen_candidates.as_they_are",
        etl_parameters={},
        etl_code_sha256="",
        splits={"names": ["train", "eval"], "buckets": [2, 1], "feature": None},
        row_accounting="exact",
        max_quarantine_fraction=0.0,
        examples_uri=str(out / "examples"),
        quarantine_uri=str(out / "quarantine"),
    )
    with staging_folder(out / "examples") as staging:
        job.run_in(spark, staging, request)


def _count_in_python(spark: Any, data: Path, out: Path) -> None:
    spark.read.parquet(str(data / "parquet")).mapInArrow(_counts, "rows long").collect()


def _counts(batches: Any) -> Any:
    import pyarrow as pa

    for batch in batches:
        yield pa.RecordBatch.from_arrays([pa.array([batch.num_rows])], names=["rows"])


def _jvm_writer(spark: Any, data: Path, out: Path) -> None:
    rows = spark.read.parquet(str(data / "parquet"))
    writer = rows.write.format("tfrecord").option("recordType", "Example")
    writer.option("codec", "org.apache.hadoop.io.compress.GzipCodec").save(str(out / "Split-all"))


def floor(data: Path, out: Path, workers: int) -> dict[str, float]:
    """Encode, checksum, compress and write, from memory; no Spark."""
    return {"seconds": write_examples(data, out, workers, "ours"), **_written(out)}


def floor_tfx_bsl(data: Path, out: Path, workers: int) -> dict[str, float]:
    """The same with tfx_bsl's encoder: the race that decided which one the component has."""
    return {"seconds": write_examples(data, out, workers, "tfx_bsl"), **_written(out)}


CANDIDATES: dict[str, Callable[[Path, Path, int], dict[str, float]]] = {
    "csv_example_gen": csv_example_gen,
    "parquet_executor": parquet_executor,
    "spark_example_gen": spark_example_gen,
    "spark_example_gen_csv": spark_example_gen_csv,
    "steady": steady,
    "transport": transport,
    "spark_tfrecord": spark_tfrecord,
    "floor": floor,
    "floor_tfx_bsl": floor_tfx_bsl,
}


def main(arguments: dict[str, Any]) -> None:
    out = Path(tempfile.mkdtemp(prefix="benchmark-", dir=arguments.get("scratch")))
    try:
        candidate = CANDIDATES[arguments["candidate"]]
        answer = candidate(Path(arguments["data"]), out, arguments["workers"])
    finally:
        shutil.rmtree(out, ignore_errors=True)
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
