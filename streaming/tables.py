"""Writes the tables of an hour, among them what later hours need of it."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from base.atomic_files import partial_of, publish_folder
from base.durations import HOUR_MS
from features.groups import FeatureGroup
from features.history import history_of
from pipeline.config import PipelineConfig
from spark_io.connectors.connector import InputLocation
from spark_io.connectors.hadoop import for_spark
from spark_io.examples.rows import EtlContext
from spark_io.sources.inputs import find_inputs
from spark_io.sources.reading import read_source
from spark_io.sources.source_types import FileSource
from spark_io.sources.spans import SpanRange

TIME = "timestamp_ms"  # time of an event, in what an application's `events` returns
_ROWS_A_FILE = 500_000


@dataclasses.dataclass(frozen=True)
class StaticSources:
    """The sources without spans, such as users and items.

    Attributes:
      frames: Source -> its rows.
      version: Text that changes when their contents change.
    """

    frames: dict[str, DataFrame]
    version: str


class HourTables:
    """The history that an hour leaves for the features of later ones, and the profiles for serving.

    They are computed from the hour's events and from the sources without spans (users, items) at
    the time the hour is closed.

    Args:
      config: Config with the application, and the sources and parameters of its ETL.
    """

    def __init__(self, config: PipelineConfig):
        application, key = config.loaded_application(), "streaming.hour_tables"
        self._events: Callable[..., dict[str, DataFrame]] = application.member("events", key)
        self._profiles: Callable[..., dict[str, DataFrame]] = application.member("profiles", key)
        self.groups: Sequence[FeatureGroup] = application.member("aggregations", key)
        self.name = config.name
        self._parameters = config.etl.parameters
        assert config.streaming is not None
        self._outcomes = config.streaming.outcomes
        self._base = config.data_root
        self._others = {
            name: source
            for name, source in config.sources.items()
            if isinstance(source, FileSource) and not source.has_spans
        }

    def past(
        self,
        spark: SparkSession,
        events: Mapping[str, DataFrame],
        hour: int,
        sources: Mapping[str, DataFrame],
    ) -> DataFrame:
        """Returns the hour's history (features/history.py).

        Args:
          spark: Spark session.
          events: Stream -> events of the hour, and those that its outcomes lead to; see hour_rows.
          hour: Hours since 1970.
          sources: The frames of `read`.
        """
        begin_ms = hour * HOUR_MS
        context = EtlContext(self._parameters, (hour,), begin_ms, self._outcomes)
        streams = self._events(spark, {**sources, **events}, context)
        # Rows of the hour are its events, which an ETL has. Of everything else it has the past.
        single = [name for name in streams if name not in events or name in self._outcomes]
        return history_of(
            self.groups, streams, begin_ms, begin_ms + HOUR_MS, time=TIME, single=single
        )

    def profiles(self, sources: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
        """Returns kind (user, item) -> its profiles; `sources` are the frames of `read`."""
        return self._profiles(sources)

    def read(self, spark: SparkSession) -> StaticSources:
        """Returns the current sources without spans.

        Raises:
          ComponentError: A source cannot be read.
        """
        place = InputLocation(str(Path(self._base).resolve()), spark)
        found = find_inputs(self._others, SpanRange(), place).by_source
        frames = {
            name: read_source(spark, name, source, found[name], place.base, False).rows
            for name, source in self._others.items()
        }
        facts = {name: one.facts for name, one in found.items()}
        return StaticSources(frames, json.dumps(facts, sort_keys=True))


def read_parquet(spark: SparkSession, *folders: Path) -> DataFrame:
    """Returns the rows of folders with the same schema; the paths are not patterns."""
    return spark.read.parquet(*[for_spark(str(folder)) for folder in folders])


def write_table(frame: DataFrame, target: Path, rows: int, *order: str) -> None:
    """Publishes Parquet files by one rename; does nothing if the folder exists.

    Args:
      frame: Rows to write.
      target: Folder of the files.
      rows: Approximate number of rows, which sets the number of files.
      order: Columns to sort by within a file.
    """
    if target.exists():
        return
    staged = partial_of(target)
    shutil.rmtree(staged, ignore_errors=True)
    files = max(1, math.ceil(rows / _ROWS_A_FILE))
    if files > 1:  # a multiple of the cores keeps all of them busy
        cores = frame.sparkSession.sparkContext.defaultParallelism
        files = math.ceil(files / cores) * cores
    parted = frame.repartition(files)
    parted.sortWithinPartitions(*order).write.parquet(str(staged))
    for path in staged.iterdir():
        if not path.name.startswith("part-"):
            path.unlink()  # Spark's markers and checksums
    publish_folder(staged, target)
