"""What an hour's folders are written from: DataFrames, the application's own tables among them."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from base.atomic_files import partial_of, publish_folder
from features.hourly_counts import PastFeatures
from pipeline.config import PipelineConfig
from spark_io.connectors.found import Place
from spark_io.connectors.hadoop import for_spark
from spark_io.examples.rows import EtlContext
from spark_io.sources.inputs import find_inputs
from spark_io.sources.reading import read_source
from spark_io.sources.source_types import FileSource
from spark_io.sources.spans import SpanRange
from streaming.layout import IMPRESSIONS

_ROWS_A_FILE = 500_000


@dataclasses.dataclass(frozen=True)
class Others:
    """The sources without spans, such as users and items.

    Attributes:
      frames: source -> its rows.
      version: other text when their contents are other ones.
    """

    frames: dict[str, DataFrame]
    version: str


class HourTables:
    """The application's tables of an hour, such as its counts by user and item.

    Made of the hour's impressions and of the sources without spans (users, items), as they are when
    the hour is closed.

    Args:
      config: with the application, and the sources and parameters of its ETL.
    """

    def __init__(self, config: PipelineConfig):
        application, key = config.loaded_application(), "streaming.hour_tables"
        self._build: Callable[..., dict[str, DataFrame]] = application.member("hour_tables", key)
        self._profiles: Callable[..., dict[str, DataFrame]] = application.member("profiles", key)
        self.declared: PastFeatures = application.member("aggregations", key)
        self._parameters = config.etl.parameters
        self._base = config.data_root
        self._others = {
            name: source
            for name, source in config.sources.items()
            if isinstance(source, FileSource) and not source.has_spans
        }

    def of(
        self,
        spark: SparkSession,
        impressions: DataFrame,
        hour: int,
        sources: Mapping[str, DataFrame],
    ) -> dict[str, DataFrame]:
        """Table -> its rows; `sources` are the frames of `read`."""
        context = EtlContext(self._parameters, (hour,))
        return self._build(spark, {IMPRESSIONS: impressions, **sources}, context)

    def profiles(self, sources: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
        """Kind (user, item) -> what is known of each; `sources` are the frames of `read`."""
        return self._profiles(sources)

    def read(self, spark: SparkSession) -> Others:
        """The sources without spans, as they are now.

        Raises:
          ComponentError: one that cannot be read.
        """
        place = Place(str(Path(self._base).resolve()), spark)
        found = find_inputs(self._others, SpanRange(), place).found
        frames = {
            name: read_source(spark, name, source, found[name], place.base, False).rows
            for name, source in self._others.items()
        }
        facts = {name: one.facts for name, one in found.items()}
        return Others(frames, json.dumps(facts, sort_keys=True))


def read_parquet(spark: SparkSession, *folders: Path) -> DataFrame:
    """Returns the rows of folders that have one schema; their paths are names, not patterns."""
    return spark.read.parquet(*[for_spark(str(folder)) for folder in folders])


def write_table(frame: DataFrame, target: Path, rows: int, *order: str) -> None:
    """Publishes Parquet files by one rename; what is there already stays.

    Args:
      frame: what to write.
      target: the folder.
      rows: about how many, for the number of files.
      order: columns to sort by within a file.
    """
    if target.exists():
        return
    staged = partial_of(target)
    shutil.rmtree(staged, ignore_errors=True)
    files = max(1, math.ceil(rows / _ROWS_A_FILE))
    if files > 1:  # no core waits for another one's last file
        cores = frame.sparkSession.sparkContext.defaultParallelism
        files = math.ceil(files / cores) * cores
    parted = frame.repartition(files)
    parted.sortWithinPartitions(*order).write.parquet(str(staged))
    for path in staged.iterdir():
        if not path.name.startswith("part-"):
            path.unlink()  # Spark's own marks and checksums
    publish_folder(staged, target)
