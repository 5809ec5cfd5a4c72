"""Checks repaired rows with the parser that reads them in the next run."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812

from base.errors import ComponentError
from spark_io.connectors.json_lines import parse_json
from spark_io.jobs.errors import explain
from spark_io.jobs.session import spark_environment, spark_session
from spark_io.replay.repaired_rows import Repairs
from spark_io.replay.replayable import ReplaySource
from spark_io.sources.column_names import LINE, REASON
from spark_io.sources.source_types import FileSource

_SPARK = {"master": "local[1]", "conf": {"spark.driver.memory": "1g"}}


def check_readable(source: ReplaySource, repairs: Repairs) -> None:
    """Parses the repaired rows with Spark, as a run does.

    Raises:
      ComponentError: A row would be rejected as unparseable, or Spark does not start.
    """
    try:
        os.environ.update(spark_environment())
        with _without_spark_chatter(), spark_session(_SPARK) as spark:
            unreadable = unreadable_lines(spark, source.source, repairs)
    except Exception as error:
        raise ComponentError(explain(error)) from error
    if unreadable:
        columns = ", ".join(f"{name} {kind}" for name, kind in source.source.columns.items())
        numbers = ", ".join(map(str, unreadable[:10])) + (", ..." if len(unreadable) > 10 else "")
        raise ComponentError(
            f"{repairs.path}, line {numbers}: the record does not fit the columns of "
            f"'{source.name}' and would be rejected again; the columns are {columns}"
        )


def unreadable_lines(spark: SparkSession, source: FileSource, repairs: Repairs) -> list[int]:
    """Returns the numbers of the lines whose records do not fit the source's columns."""
    number = "_line_of_file"
    with tempfile.TemporaryDirectory() as folder:
        # Spark reads a file without starting a Python worker.
        path = Path(folder) / "rows.json"
        with path.open("w", encoding="utf-8") as file:
            for repair in repairs.rows:
                file.write(json.dumps({number: repair.line, LINE: repair.record}) + "\n")
        lines = spark.read.schema(f"{number} int, {LINE} string").json(path.as_uri())
        parsed = parse_json(lines, source.columns, source.options)
        rejected = parsed.where(F.col(REASON).isNotNull()).select(number).orderBy(number)
        return [row[0] for row in rejected.collect()]


@contextlib.contextmanager
def _without_spark_chatter() -> Iterator[None]:
    """Keeps the JVM's standard error in a file and shows it only on failure."""
    with tempfile.TemporaryFile() as chatter:
        sys.stderr.flush()
        screen = os.dup(2)
        os.dup2(chatter.fileno(), 2)
        try:
            yield
        except BaseException:
            chatter.seek(0)
            os.write(screen, chatter.read())
            raise
        finally:
            os.dup2(screen, 2)
            os.close(screen)
