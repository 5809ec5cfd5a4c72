"""Runs ingest in a process that kills itself: python killed_ingest.py SETTINGS STEP

It dies before its STEP-th change of a file (0: never), together with Spark's JVM.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/spark_io")]

from pipeline.streaming_sections import Streaming  # noqa: E402
from spark_io.jobs.session import spark_environment, spark_session  # noqa: E402
from streaming.ingest import ingest  # noqa: E402
from tests.spark_io import fault_etl  # noqa: E402


def main(path: str, step: int) -> None:
    settings = Streaming.model_validate_json(Path(path).read_text("utf-8"))
    os.environ.update(spark_environment())
    conf = {"spark.sql.shuffle.partitions": "2", "spark.driver.memory": "1g"}
    jars = (str(ROOT / "jars" / "spark" / "*.jar"),)
    with spark_session({"master": "local[2]", "conf": conf, "jars": jars}) as spark:
        spark.sparkContext.setLogLevel("ERROR")
        if step:
            fault_etl.kill_at_step(settings.folder.resolve(), step)
        ingest(spark, settings, lambda *told: print(*told, flush=True), once=True, finish=True)
    print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
