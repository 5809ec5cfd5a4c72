"""`python -m applications.fraud.daily`: writes the groups of cards of each day.

Hourly runs and serving need the groups of the day before. Each day is written once, after its last
hour has closed, from the payments that had come by then. Run it before the first `ingest`, and then
every few minutes: a day that is there is not written again.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click
from pyspark.sql import DataFrame, SparkSession

from applications.fraud.card_groups import DAY_MS, SCHEMA, card_groups, day_name
from applications.fraud.etl import genuine_payments
from base.atomic_files import partial_of, publish_folder
from base.durations import HOUR_MS
from base.errors import ComponentError
from pipeline.command_line import console, with_config
from pipeline.config import PipelineConfig
from spark_io.examples.rows import EtlContext
from spark_io.jobs.session import spark_environment, spark_session
from streaming.indexes import complete_ms
from streaming.layout import Layout
from streaming.tables import HourTables, read_parquet

_HOURS = 24
_FOLDER = "card_groups"  # in data_root; the config's source of this name reads it


@click.command()
@with_config
def main(config: PipelineConfig) -> None:
    """Writes the groups of cards of each day whose hours have all closed.

    \b
      python -m applications.fraud.daily --config applications/fraud/configs/fraud-stream.yaml
    """
    days = missing_days(config)
    if not days:
        console().print("no new day is complete")
        return
    os.environ.update(spark_environment())
    with spark_session(config.spark.model_dump(), "card groups") as spark:
        spark.sparkContext.setLogLevel("ERROR")
        for day in days:
            number = write_day(spark, config, day)
            console().print(f"{day_name(day)}: {number:,} cards")


def missing_days(config: PipelineConfig) -> list[int]:
    """Returns the complete days that were not written yet, as days since 1970.

    The day before the log counts as complete: no card was used then. Before the first hour has
    closed, 1970-01-01 is such a day, so that `ingest` finds a table.

    Raises:
      ComponentError: The config has no section `streaming`.
    """
    if config.streaming is None:
        raise ComponentError(
            f"{config.name}: card groups of days are for hourly operation, and the config has no "
            "section `streaming`. In a batch run the ETL computes them"
        )
    layout = Layout(config.streaming.folder)
    closed, known = layout.closed_hours(), complete_ms(layout, config.streaming.events)
    if not closed or known is None:
        return [] if _folder(config, 0).exists() else [0]
    first, end = min(closed) // _HOURS - 1, known // DAY_MS
    return [day for day in range(first, end) if not _folder(config, day).exists()]


def write_day(spark: SparkSession, config: PipelineConfig, day: int) -> int:
    """Writes the groups of a day, and returns the number of its cards."""
    folder = _folder(config, day)
    staged = partial_of(folder)
    shutil.rmtree(staged, ignore_errors=True)
    line = spark.createDataFrame([(day, None, 0)], SCHEMA)
    groups = groups_of_day(spark, config, day).cache()
    groups.unionByName(line).coalesce(1).write.parquet(str(staged))
    number = groups.count()
    groups.unpersist()
    publish_folder(staged, folder)
    return number


def groups_of_day(spark: SparkSession, config: PipelineConfig, day: int) -> DataFrame:
    """Returns the groups of a day, SCHEMA, from the newest versions of its closed hours."""
    assert config.streaming is not None
    layout = Layout(config.streaming.folder)
    spans = layout.newest(config.streaming.events, range(day * _HOURS, (day + 1) * _HOURS))
    if not spans:
        return spark.createDataFrame([], SCHEMA)
    sources = {**HourTables(config).read(spark).frames, "payments": read_parquet(spark, *spans)}
    context = EtlContext(config.etl.parameters, (), day * _HOURS * HOUR_MS)
    payments, _ = genuine_payments(sources, context)
    # Payments that were late for their hour lie in it all the same, and none of another day does.
    return card_groups(payments)


def _folder(config: PipelineConfig, day: int) -> Path:
    return Path(config.data_root) / _FOLDER / day_name(day)


if __name__ == "__main__":
    main(prog_name="python -m applications.fraud.daily")
