"""Whether Spark can read repaired rows: by the parser that will read them in the next run."""

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
    """Has Spark parse the repaired rows, as a run will.

    Raises:
      ComponentError: one of them would be refused as unparseable, or Spark does not start.
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
            f"'{source.name}', and would be refused again; they are: {columns}"
        )


def unreadable_lines(spark: SparkSession, source: FileSource, repairs: Repairs) -> list[int]:
    """Numbers of the lines whose records do not fit the source's columns."""
    number = "_line_of_file"
    with tempfile.TemporaryDirectory() as folder:
        # By way of a file: Spark reads that itself, and starts no Python.
        path = Path(folder) / "rows.json"
        with path.open("w", encoding="utf-8") as file:
            for repair in repairs.rows:
                file.write(json.dumps({number: repair.line, LINE: repair.record}) + "\n")
        lines = spark.read.schema(f"{number} int, {LINE} string").json(path.as_uri())
        parsed = parse_json(lines, source.columns, source.options)
        refused = parsed.where(F.col(REASON).isNotNull()).select(number).orderBy(number)
        return [row[0] for row in refused.collect()]


@contextlib.contextmanager
def _without_spark_chatter() -> Iterator[None]:
    """The JVM's own standard error goes to a file, which is shown only if something fails."""
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
